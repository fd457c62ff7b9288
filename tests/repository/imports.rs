//! The source files of this package, with what each file imports and defines.
//!
//! A module is written as `lib::gate::permit` or `program::watch`. Code under `#[cfg(test)]` is left out.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};
use syn::{Attribute, File, ImplItem, Item, ItemUse, Macro, UseTree, Visibility};

use crate::documents::{files_in, read, root};

/// The files, by module.
pub(crate) struct Sources(BTreeMap<String, SourceFile>);

#[derive(Default)]
pub(crate) struct SourceFile {
    pub(crate) module: String,
    /// The structs, enums and traits that the file defines.
    pub(crate) types: Vec<String>,
    uses: Vec<Import>,
    /// The paths in the code, such as `super::Gate::new`.
    paths: Vec<String>,
    /// The modules that exist only in tests.
    test_modules: Vec<String>,
    /// The module that the visitor is in: this file's, or a module inside it.
    scope: String,
}

/// A name that a `use` declaration brings into scope.
struct Import {
    name: String,
    path: String,
    is_re_export: bool,
}

impl Sources {
    /// Reads the files under src/.
    pub(crate) fn read() -> Self {
        let texts: Vec<_> = files_in(&root().join("src"), "rs")
            .iter()
            .map(|path| (path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/"), read(path)))
            .collect();
        assert!(texts.len() > 100, "src/ was not found");
        Self::parse(texts.iter().map(|(path, text)| (path.as_str(), text.as_str())))
    }

    /// Parses files, given as pairs of a path and a text.
    pub(crate) fn parse<'t>(texts: impl Iterator<Item = (&'t str, &'t str)>) -> Self {
        let mut files: Vec<_> = texts.map(|(path, text)| SourceFile::parse(path, text)).collect();
        let test_modules: Vec<_> = files.iter().flat_map(|file| file.test_modules.clone()).collect();
        files.retain(|file| !test_modules.iter().any(|module| is_within(&file.module, module)));
        Self(files.into_iter().map(|file| (file.module.clone(), file)).collect())
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &SourceFile> {
        self.0.values()
    }

    /// Returns the paths that a file uses, from the root of their crate. A re-export alone is not a use.
    pub(crate) fn paths_used_by(&self, file: &SourceFile) -> Vec<String> {
        let imported = file.uses.iter().filter(|import| !import.is_re_export).map(|import| &import.path);
        imported.chain(&file.paths).map(|path| self.resolve_first_segment(file, path)).collect()
    }

    /// Returns the module whose file defines an item, following re-exports. Returns `None` if the path names a module or
    /// an item of another crate.
    pub(crate) fn module_that_defines(&self, path: &str) -> Option<&str> {
        let mut ends = path.rmatch_indices("::").map(|(end, _)| end);
        let file = ends.find_map(|end| self.0.get(&path[..end])).filter(|_| !self.0.contains_key(path))?;
        let item = path.strip_prefix(file.module.as_str())?.strip_prefix("::")?;
        let (name, rest) = item.split_once("::").unwrap_or((item, ""));
        // An inline module may import an item of its own file.
        let own_item = join(&file.module, name);
        match file.uses.iter().find(|import| import.name == name && import.path != own_item) {
            Some(import) => {
                self.module_that_defines(&join(&self.resolve_first_segment(file, &import.path), rest))
            }
            None => Some(&file.module),
        }
    }

    /// Resolves the first segment of a path: a child module, or a name that a `use` brings into scope.
    fn resolve_first_segment(&self, file: &SourceFile, path: &str) -> String {
        let (first, rest) = path.split_once("::").unwrap_or((path, ""));
        let import = file.uses.iter().find(|import| import.name == first && import.path != path);
        match import {
            _ if self.0.contains_key(&join(&file.module, first)) => join(&file.module, path),
            Some(import) => join(&self.resolve_first_segment(file, &import.path), rest),
            None => path.to_owned(),
        }
    }
}

impl SourceFile {
    fn parse(path: &str, text: &str) -> Self {
        let program = path.strip_prefix("src/bin/").and_then(|path| path.split_once('/'));
        let (root, path_in_root) =
            program.map_or(("lib", &path["src/".len()..]), |(_, path)| ("program", path));
        let path_in_root = path_in_root.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
        let is_root = matches!(path_in_root.as_str(), "lib" | "main");
        let module = if is_root { root.to_owned() } else { join(root, &path_in_root) };
        let mut file = Self { scope: module.clone(), module, ..Self::default() };
        file.visit_file(&syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}")));
        file
    }

    /// Resolves `crate`, `self` and `super` at the start of a path.
    fn without_keywords(&self, path: &str) -> String {
        let (mut scope, mut rest) = (self.scope.as_str(), path);
        loop {
            let (first, after) = rest.split_once("::").unwrap_or((rest, ""));
            match first {
                "crate" => scope = scope.split("::").next().unwrap(),
                "super" => scope = scope.rsplit_once("::").map_or(scope, |(parent, _)| parent),
                "self" => {}
                _ if rest == path => return path.to_owned(),
                _ => return join(scope, rest),
            }
            rest = after;
        }
    }

    fn add_uses(&mut self, prefix: &str, tree: &UseTree, is_re_export: bool) {
        let (name, path) = match tree {
            UseTree::Path(tree) => {
                return self.add_uses(&join(prefix, &tree.ident.to_string()), &tree.tree, is_re_export);
            }
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.add_uses(prefix, tree, is_re_export));
            }
            UseTree::Glob(_) => ("*".to_owned(), join(prefix, "*")),
            UseTree::Rename(tree) => (tree.rename.to_string(), join(prefix, &tree.ident.to_string())),
            UseTree::Name(tree) if tree.ident == "self" => {
                (prefix.rsplit("::").next().unwrap().to_owned(), prefix.to_owned())
            }
            UseTree::Name(tree) => (tree.ident.to_string(), join(prefix, &tree.ident.to_string())),
        };
        self.uses.push(Import { name, path: self.without_keywords(&path), is_re_export });
    }
}

impl<'ast> Visit<'ast> for SourceFile {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, defined_type) = match item {
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::Mod(item) => (&item.attrs, None),
            Item::Fn(item) => (&item.attrs, None),
            Item::Impl(item) => (&item.attrs, None),
            Item::Use(item) => (&item.attrs, None),
            _ => return visit::visit_item(self, item),
        };
        let outer = self.scope.clone();
        if let Item::Mod(module) = item {
            self.scope = join(&outer, &module.ident.to_string());
        }
        if is_for_tests(attributes) {
            self.test_modules.push(self.scope.clone());
        } else {
            self.types.extend(defined_type.map(ToString::to_string));
            visit::visit_item(self, item);
        }
        self.scope = outer;
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !matches!(item, ImplItem::Fn(function) if is_for_tests(&function.attrs)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_uses("", &item.tree, !matches!(item.vis, Visibility::Inherited));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.paths.push(self.without_keywords(&segments.join("::")));
        visit::visit_path(self, path);
    }

    /// Visits the items in a macro such as `pin_project!`. Other macros are not looked into.
    fn visit_macro(&mut self, call: &'ast Macro) {
        if let Ok(items) = call.parse_body::<File>() {
            SourceFile::visit_file(self, &items);
        }
    }
}

/// Returns `true` for `#[cfg(test)]` and `#[cfg(all(test, ..))]`.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    let conditions = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    let texts =
        conditions.filter_map(|attribute| Some(attribute.meta.require_list().ok()?.tokens.to_string()));
    texts.into_iter().any(|text| text == "test" || text.starts_with("all (test"))
}

/// Returns `true` if the path is the module, or is inside it.
pub(crate) fn is_within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn join(path: &str, rest: &str) -> String {
    let separator = if path.is_empty() || rest.is_empty() { "" } else { "::" };
    format!("{path}{separator}{rest}")
}
