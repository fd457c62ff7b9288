//! What the documents say is so: their tables, their links, and what they show of the program.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};

use concurrency_governor::preset::astrid::CapsuleRuntimeLimits;
use concurrency_governor::{Reading, Readings, Resource};

const README: &str = include_str!("../README.md");
const ASTRID: &str = include_str!("../docs/ASTRID.md");
const CONFIGURATION: &str = include_str!("../docs/CONFIGURATION.md");

/// The rows of the table that starts with this cell, less its head, as trimmed cells.
fn table<'t>(text: &'t str, first_cell: &str) -> Vec<Vec<&'t str>> {
    let head = format!("| {first_cell} |");
    let rows =
        text.lines().skip_while(|line| !line.starts_with(&head)).take_while(|line| line.starts_with('|'));
    rows.skip(2).map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn manifest() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap_or_default()
}

/// The worked numbers that operators read are those that the engine takes.
#[test]
fn worked_numbers_of_the_preset_are_its_numbers() {
    let rows = table(ASTRID, "cores");
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), ["1", "2", "4", "8", "16", "64"]);
    let descriptors = [Reading::whole(256), Reading::whole(1024), Reading::whole(65536), Reading::Unlimited];
    for row in rows {
        let numbers: Vec<usize> = row.iter().map(|cell| cell.parse().unwrap()).collect();
        let [cores, blocking, pool, warm, io @ ..] = &numbers[..] else { panic!("{row:?}") };
        assert_eq!(io.len(), descriptors.len(), "{row:?}");
        for (&io, descriptors) in io.iter().zip(descriptors) {
            let cores = Reading::whole(u64::try_from(*cores).unwrap());
            let readings = Readings::new().with(Resource::CPU, cores).with(Resource::FD, descriptors);
            let limits = CapsuleRuntimeLimits::resolve_on(&readings, None, None, None);
            assert_eq!(limits.blocking_concurrency, *blocking, "{row:?}");
            assert_eq!(limits.io_concurrency, io, "{row:?} at {descriptors}");
            assert_eq!(limits.instance_pool_size, *pool, "{row:?}");
            assert_eq!(limits.instance_pool_min_idle(), *warm, "{row:?}");
        }
    }
}

/// The settings that operators read of are those that the preset reads.
#[test]
fn environment_variables_of_the_preset_are_named() {
    for (gate, variable) in concurrency_governor::preset::astrid::ENV_VARS {
        assert!(ASTRID.contains(&format!("`{variable}`")), "{gate}");
    }
}

/// The sample that the page on configuration shows is the file that it names.
#[test]
fn sample_of_the_page_is_the_sample() {
    let (_, shown) = CONFIGURATION.split_once("```toml\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    assert_eq!(shown, include_str!("../docs/plan.example.toml"));
}

/// The keys that the page lists are those that a plan may have: the errors for an unknown one name them all.
#[cfg(feature = "serde")]
#[test]
fn keys_of_a_plan_are_listed() {
    use concurrency_governor::config::PlanConfig;

    let refused = |text: &str| serde_json::from_str::<PlanConfig>(text).unwrap_err().to_string();
    let allowed = |error: String| {
        let (_, allowed) = error.split_once("(allowed: ").unwrap();
        allowed.split([',', ')']).map(|key| key.trim().to_owned()).take_while(|key| key.len() < 20).collect()
    };
    let plan: Vec<String> = allowed(refused(r#"{"preset": "astrid", "x": 1}"#));
    let gate: Vec<String> = allowed(refused(r#"{"gates": {"io": {"formula": "cpu", "x": 1}}}"#));
    let gate = gate.iter().filter(|key| !key.is_empty() && !key.starts_with("at line"));
    let keys = ["preset".to_owned()].into_iter().chain(gate.map(|key| format!("gates.NAME.{key}")));
    let keys: Vec<String> = keys.chain(["overrides.NAME".to_owned()]).collect();
    assert_eq!(plan[..3], ["preset", "gates", "overrides"]);
    let listed: Vec<&str> = table(CONFIGURATION, "Key").iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(listed, keys);
}

/// README names every feature, and none that is not there; its minimum of Rust is the manifest's.
#[test]
fn features_and_minimum_of_rust_are_the_manifests() {
    let manifest = manifest();
    let section = manifest.split("[features]").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap();
    let declared = section.lines().filter_map(|line| line.split_once(" = [").map(|(name, _)| name));
    let declared: Vec<&str> = declared.filter(|name| *name != "default").collect();
    let told: Vec<&str> = table(README, "Feature").iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(told, declared);

    let minimum = manifest.split("rust-version = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(README.contains(&format!("**Rust** {minimum} or later")), "{minimum}");
}

/// A link from one document to another leads somewhere.
#[test]
fn links_between_documents_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|name| root.join(name));
    let pages = pages(&root.join("docs"));
    assert!(pages.contains(&root.join("docs/cookbook/README.md")), "{pages:?}");
    for document in documents.into_iter().chain(pages) {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text).filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
            let file = document.parent().unwrap().join(link.split('#').next().unwrap());
            assert!(file.exists(), "{}: {link}", document.display());
        }
    }
}

/// Every page of the cookbook is to be found from README, from the cookbook's own list and from the crate's page, and
/// its programs are tests.
#[test]
fn pages_of_the_cookbook_are_listed_and_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let contents = fs::read_to_string(root.join("docs/cookbook/README.md")).unwrap();
    let library = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    for page in recipes() {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(links(&contents).any(|link| link == name), "docs/cookbook/README.md: {name}");
        assert!(links(README).any(|link| link == format!("docs/cookbook/{name}")), "README.md: {name}");
        assert!(library.contains(&format!("//! - `docs/cookbook/{name}`: ")), "src/lib.rs: {name}");
        let has_programs = fs::read_to_string(&page).unwrap().contains("\n```rust");
        let is_tested = library.contains(&format!("include_str!(\"../docs/cookbook/{name}\")"));
        assert_eq!(is_tested, has_programs, "src/lib.rs: {name}");
    }
    let told = library.lines().filter(|line| line.starts_with("//! - `docs/cookbook/")).count();
    assert_eq!(told, recipes().len());
}

/// Every page of the cookbook begins with the situation and ends with what to look at when it misbehaves.
#[test]
fn pages_of_the_cookbook_have_one_shape() {
    assert!(recipes().len() >= 9, "{:?}", recipes());
    for page in recipes() {
        let text = fs::read_to_string(&page).unwrap();
        let (_, text) = text.split_once("\n\n").unwrap();
        assert!(text.starts_with("**The situation.** "), "{}", page.display());
        let last = text.rsplit("\n## ").next().unwrap();
        assert!(last.starts_with("When it misbehaves\n"), "{}", page.display());
    }
}

/// The pages of the cookbook but the one that lists them.
fn recipes() -> Vec<PathBuf> {
    let pages = pages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cookbook"));
    pages.into_iter().filter(|page| !page.ends_with("README.md")).collect()
}

/// The pages in a folder and below, by name.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What a text links to.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// README names the one file of the library that has `unsafe`: no other expects the lint that denies it.
#[test]
fn unsafe_code_is_where_readme_says() {
    assert!(manifest().contains("\nunsafe_code = \"deny\""));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut expecting) = (vec![root.join("src")], Vec::new());
    while let Some(folder) = folders.pop() {
        for path in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path).unwrap().contains("unsafe_code") {
                expecting.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    let told = README.split("one file of the library, `").nth(1).and_then(|rest| rest.split('`').next());
    assert_eq!(expecting, Vec::from_iter(told));
}

#[cfg(feature = "cli")]
mod program {
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use super::{CONFIGURATION, README, pages};

    /// Runs a command as it stands after the `$`: settings of the environment, then the program and its arguments. A
    /// line may go on in the next, and an argument may stand in quotes.
    fn run(command: &str) -> String {
        let (environment, arguments) = command.split_once("concurrency-governor").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_concurrency-governor"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear()
            .envs(environment.split_whitespace().filter_map(|setting| setting.split_once('=')))
            .args(words(arguments))
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn words(arguments: &str) -> Vec<&str> {
        let in_turn = arguments.split('\'').enumerate();
        in_turn
            .flat_map(|(at, part)| match at % 2 {
                0 => part.split_whitespace().filter(|word| *word != "\\").collect(),
                _ => vec![part],
            })
            .collect()
    }

    /// The commands that a document shows, each with its output.
    fn shown(document: &str) -> impl Iterator<Item = (&str, &str)> {
        let blocks = document.split("```console\n$ ").skip(1).filter_map(|rest| rest.split("```").next());
        blocks.map(|block| {
            let mut ends = block.match_indices('\n').map(|(end, _)| end);
            let end = ends.find(|end| !block[..*end].ends_with('\\')).unwrap();
            (&block[..end], block[end..].strip_prefix('\n').unwrap())
        })
    }

    /// Whether this is what was printed, where a line `...` stands for any number of lines.
    fn is_excerpt(shown: &str, printed: &str) -> bool {
        let mut rest = printed;
        for (at, piece) in shown.split("...\n").enumerate() {
            let found = if at == 0 { rest.starts_with(piece).then_some(0) } else { rest.find(piece) };
            let Some(start) = found else { return false };
            rest = &rest[start..][piece.len()..];
        }
        rest.is_empty() || shown.ends_with("...\n")
    }

    /// What a document shows of the program is what the program prints.
    #[test]
    #[cfg_attr(not(target_os = "linux"), ignore = "a captured host is read on Linux alone")]
    fn shown_output_is_what_it_prints() {
        let documents = pages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs"));
        let documents: Vec<String> = documents.iter().map(|page| fs::read_to_string(page).unwrap()).collect();
        assert!(documents.iter().flat_map(|document| shown(document)).count() >= 8);
        for (command, output) in documents.iter().flat_map(|document| shown(document)) {
            let printed = run(command);
            assert!(is_excerpt(output, &printed), "{command}\nshown:\n{output}\nprinted:\n{printed}");
        }
    }

    /// Lines are left out only where a document says so.
    #[test]
    fn an_excerpt_leaves_out_only_what_it_says() {
        let printed = "a\nb\nc\n";
        for excerpt in [printed, "a\n...\n", "...\nc\n", "...\nb\n...\n", "a\n...\nc\n"] {
            assert!(is_excerpt(excerpt, printed), "{excerpt:?}");
        }
        for other in ["", "a\n", "b\n...\n", "...\nb\n", "a\nc\n", "c\n...\na\n", "a\n...\nd\n"] {
            assert!(!is_excerpt(other, printed), "{other:?}");
        }
    }

    /// The error that the page on configuration shows is what the program says of such a file.
    #[test]
    fn shown_error_is_what_it_says() {
        let (_, shown) = CONFIGURATION.split_once("```text\nerror: ").unwrap();
        let (shown, _) = shown.split_once('\n').unwrap();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let plan = "[gates.io]\nformula = \"cpu\"\nqueue = -1\n\n[overrides]\noi = 3\n";
        fs::write(folder.join("limits.toml"), plan).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_concurrency-governor"))
            .args(["explain", "--plan", "limits.toml"])
            .current_dir(&folder)
            .output();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(String::from_utf8(output.unwrap().stderr).unwrap(), format!("error: {shown}\n"));
    }

    /// The excerpt in README is of a real host; from the readings on, it is what the program makes of them.
    #[test]
    fn excerpt_in_readme_follows_from_its_readings() {
        let (_, excerpt) = README.split_once("\n\nGates of preset astrid\n").unwrap();
        let (excerpt, _) = excerpt.split_once("```").unwrap();
        let printed = run("concurrency-governor explain --reading cpu=2 --reading fd=20000");
        assert!(printed.ends_with(excerpt), "{printed}");
    }
}
