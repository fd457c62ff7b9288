//! The errors of the library, as they are printed.

use std::collections::BTreeSet;

use syn::meta::ParseNestedMeta;
use syn::{Attribute, Item, Path, Type, Visibility};

use crate::documents::{files_in, read, root};

/// A `main` that returns an error prints it with `Debug`. So a public error derives no `Debug`, which would print its fields: it
/// prints its message, and its causes.
#[test]
fn public_errors_print_their_message() {
    let (mut errors, mut derive_debug) = (BTreeSet::new(), BTreeSet::new());
    for path in files_in(&root().join("src"), "rs") {
        if path.starts_with(root().join("src/bin")) {
            continue;
        }
        let file = syn::parse_file(&read(&path)).unwrap();
        for item in &file.items {
            let (name, is_public, attributes) = match item {
                Item::Struct(item) => (&item.ident, is_public(&item.vis), &item.attrs),
                Item::Enum(item) => (&item.ident, is_public(&item.vis), &item.attrs),
                Item::Impl(item) => {
                    // `impl Error for T`, without the derive.
                    let is_error = item.trait_.as_ref().is_some_and(|(_, of, _)| last_of(of) == "Error");
                    if let (true, Type::Path(implementor)) = (is_error, &*item.self_ty) {
                        errors.insert(last_of(&implementor.path));
                    }
                    continue;
                }
                _ => continue,
            };
            let derives = derives_of(attributes);
            if is_public && derives.contains("Error") {
                errors.insert(name.to_string());
            }
            if derives.contains("Debug") {
                derive_debug.insert(name.to_string());
            }
        }
    }
    assert!(errors.len() >= 12, "{errors:?}");
    let wrong: Vec<_> = errors.intersection(&derive_debug).collect();
    assert!(wrong.is_empty(), "implement `Debug` by `impl_debug_as_display!`: {wrong:?}");
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Returns the names of the derived traits, without their modules.
fn derives_of(attributes: &[Attribute]) -> BTreeSet<String> {
    let mut derives = BTreeSet::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        let insert = |derived: ParseNestedMeta<'_>| {
            derives.insert(last_of(&derived.path));
            Ok(())
        };
        attribute.parse_nested_meta(insert).unwrap();
    }
    derives
}

fn last_of(path: &Path) -> String {
    path.segments.last().unwrap().ident.to_string()
}
