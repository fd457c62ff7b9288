//! A plan in every format, and embedded in the configuration of an application, as figment and config read it.

use concurrency_governor::config::{ConfigError, PlanConfig, Settings};
use concurrency_governor::preset::astrid;
use concurrency_governor::{Overrides, Readings};
use config::{Config, Environment, File, FileFormat};
use figment::Figment;
use figment::providers::{Format as _, Json, Serialized, Toml};
use serde::Deserialize;

/// The configuration of an application, with a plan and with settings among its own keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct App {
    listen: String,
    plan: PlanConfig,
    #[serde(default)]
    limits: Settings,
}

const TOML: &str = r#"
listen = "[::]:80"

[plan]
preset = "astrid"

[plan.gates.cache]
formula = "gate uploads * 2 | ceiling 256"

[plan.gates.uploads]
formula = "(cpu or 2) * 8 | floor 16"
queue = 1000
max_wait = "250ms"
policy = "clamp"
measure_waits = false

[plan.overrides]
uploads = 12

[limits]
io = 64
"#;

const YAML: &str = r#"
listen: "[::]:80"
plan:
  preset: astrid
  gates:
    cache:
      formula: gate uploads * 2 | ceiling 256
    uploads:
      formula: (cpu or 2) * 8 | floor 16
      queue: 1000
      max_wait: 250ms
      policy: clamp
      measure_waits: false
  overrides:
    uploads: 12
limits:
  io: 64
"#;

const JSON: &str = r#"{
    "listen": "[::]:80",
    "plan": {
        "preset": "astrid",
        "gates": {
            "cache": { "formula": "gate uploads * 2 | ceiling 256" },
            "uploads": {
                "formula": "(cpu or 2) * 8 | floor 16",
                "queue": 1000,
                "max_wait": "250ms",
                "policy": "clamp",
                "measure_waits": false
            }
        },
        "overrides": { "uploads": 12 }
    },
    "limits": { "io": 64 }
}"#;

/// Every format and every configuration library gives the same plan and the same settings.
#[test]
fn every_format_gives_the_same_plan() {
    let expected: App = toml::from_str(TOML).unwrap();
    assert_eq!(expected.plan.plan().specs().len(), 5);
    let of_config =
        |text, format| Config::builder().add_source(File::from_str(text, format)).build().unwrap();
    let apps: [(&str, App); 8] = [
        ("serde_json", serde_json::from_str(JSON).unwrap()),
        ("serde_yaml_ng", serde_yaml_ng::from_str(YAML).unwrap()),
        ("figment, TOML", Figment::from(Toml::string(TOML)).extract().unwrap()),
        ("figment, JSON", Figment::from(Json::string(JSON)).extract().unwrap()),
        ("config, TOML", of_config(TOML, FileFormat::Toml).try_deserialize().unwrap()),
        ("config, YAML", of_config(YAML, FileFormat::Yaml).try_deserialize().unwrap()),
        ("config, JSON", of_config(JSON, FileFormat::Json).try_deserialize().unwrap()),
        ("YAML of the plan", {
            let plan = serde_yaml_ng::to_string(&expected.plan).unwrap();
            let plan = serde_yaml_ng::from_str(&plan).unwrap();
            App { listen: "[::]:80".to_owned(), plan, limits: expected.limits.clone() }
        }),
    ];
    for (reader, app) in apps {
        assert_eq!(app.plan, expected.plan, "{reader}");
        assert_eq!(app.limits, expected.limits, "{reader}");
        assert_eq!(app.listen, expected.listen, "{reader}");
    }
}

/// The error of figment has the file and the key, and the messages of this crate.
#[test]
fn a_figment_error_has_the_file_and_the_key() {
    let file =
        TempFile::new("app.toml", &TOML.replace("queue = 1000", "queue = -1").replace("250ms", "soon"));
    let error = Figment::from(Toml::file(&file.path)).extract::<App>().unwrap_err().to_string();
    for part in [
        "for key \"default.plan\" in ",
        "app.toml TOML file",
        "gates.uploads.queue = -1 is not a whole number (allowed: 0 to 18446744073709551615)",
        "gates.uploads.max_wait = \"soon\" is not a duration (allowed: text such as \"250ms\" or \"1m 30s\")",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

/// figment merges a later source into a plan key by key.
#[test]
fn figment_merges_sources_by_key() {
    let environment = Serialized::default("plan.overrides.cache", "7");
    let app: App = Figment::from(Toml::string(TOML)).merge(environment).extract().unwrap();
    let settings: Vec<_> =
        app.plan.overrides().iter().map(|(gate, value)| (gate.to_string(), value)).collect();
    assert_eq!(settings, [("cache".to_owned(), 7), ("uploads".to_owned(), 12)]);
}

/// The error of config has the key but no file, which `ConfigError::in_file` adds, and the messages of this crate.
#[test]
fn a_config_error_has_the_key() {
    let text = TOML.replace("queue = 1000", "queue = -1").replace("250ms", "soon");
    let built = Config::builder().add_source(File::from_str(&text, FileFormat::Toml)).build().unwrap();
    let error = built.try_deserialize::<App>().unwrap_err();
    let error = ConfigError::in_file("app.toml", error).to_string();
    for part in [
        "app.toml: ",
        "for key `plan`",
        "gates.uploads.queue = -1 is not a whole number (allowed: 0 to 18446744073709551615)",
        "gates.uploads.max_wait = \"soon\" is not a duration (allowed: text such as \"250ms\" or \"1m 30s\")",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

/// config reads an environment variable as text, and this crate accepts it as a number.
#[test]
fn a_number_from_the_environment_is_accepted() {
    let variables = [("APP__LIMITS__POOL".to_owned(), "9".to_owned())].into_iter().collect();
    let environment = Environment::with_prefix("APP").separator("__").source(Some(variables));
    let sources =
        Config::builder().add_source(File::from_str(TOML, FileFormat::Toml)).add_source(environment);
    let app: App = sources.build().unwrap().try_deserialize().unwrap();
    let overrides = Overrides::new().then(app.limits.under("limits").layer("app.toml or environment"));
    let resolution = astrid::plan().resolve(&Readings::new(), &overrides).unwrap();
    assert_eq!(
        resolution.explain(astrid::POOL).unwrap().to_string(),
        "pool = 9: set to 9 by app.toml or environment limits.pool (above the derived limit), derived 8"
    );
}

/// A YAML key that is not text gives an error with that key. A section with only comments is null, and counts as missing.
#[test]
fn yaml_keys_and_empty_sections_are_accepted_or_reported() {
    let plan: PlanConfig =
        serde_yaml_ng::from_str("preset: astrid\noverrides:\n  # pool: 9\ngates:\n").unwrap();
    assert_eq!(plan.plan(), &astrid::plan());
    let error = serde_yaml_ng::from_str::<PlanConfig>("preset: astrid\n1: 2\n").unwrap_err().to_string();
    assert_eq!(error, "1 is not a known key (allowed: preset, gates, overrides)");
}

/// A file in a folder of its own, which is removed on drop.
struct TempFile {
    folder: std::path::PathBuf,
    path: std::path::PathBuf,
}

impl TempFile {
    fn new(name: &str, content: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);

        // The number is unique within the process, and the process id among processes.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = folder.join(format!("embed-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        Self { folder, path }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // A folder that stays in the build folder does no harm.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
