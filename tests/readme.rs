//! What the documents say is so: their tables, their links, and what they show of the program.

use std::fs;
use std::path::Path;

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
    let pages = root.join("docs").read_dir().unwrap().map(|entry| entry.unwrap().path());
    for document in
        documents.into_iter().chain(pages.filter(|path| path.extension().is_some_and(|e| e == "md")))
    {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.starts_with('#') {
                continue;
            }
            let file = document.parent().unwrap().join(link.split('#').next().unwrap());
            assert!(file.exists(), "{}: {link}", document.display());
        }
    }
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
#[expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod program {
    use std::process::Command;

    use super::{ASTRID, CONFIGURATION, README};

    /// Runs a line as it stands after the `$`: settings of the environment, then the program and its arguments.
    fn run(line: &str) -> String {
        let (environment, arguments) = line.split_once("concurrency-governor").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_concurrency-governor"))
            .env_clear()
            .envs(environment.split_whitespace().filter_map(|setting| setting.split_once('=')))
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a document shows of the program is what the program prints.
    #[test]
    fn shown_output_is_what_it_prints() {
        let blocks =
            [ASTRID, CONFIGURATION].into_iter().flat_map(|page| page.split("```console\n$ ").skip(1));
        let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
        assert_eq!(blocks.len(), 3);
        for block in blocks {
            let (line, shown) = block.split_once('\n').unwrap();
            assert_eq!(run(line), shown, "{line}");
        }
    }

    /// The error that the page on configuration shows is what the program says of such a file.
    #[test]
    fn shown_error_is_what_it_says() {
        let (_, shown) = CONFIGURATION.split_once("```text\nerror: ").unwrap();
        let (shown, _) = shown.split_once('\n').unwrap();
        let folder =
            std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let plan = "[gates.io]\nformula = \"cpu\"\nqueue = -1\n\n[overrides]\noi = 3\n";
        std::fs::write(folder.join("limits.toml"), plan).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_concurrency-governor"))
            .args(["explain", "--plan", "limits.toml"])
            .current_dir(&folder)
            .output();
        std::fs::remove_dir_all(&folder).unwrap();
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
