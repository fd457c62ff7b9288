//! The engine's three settings, from flags, file and environment, in the engine's order of precedence.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use concurrency_governor::preset::astrid::{BLOCKING, ENV_VARS, IO, POOL};
use concurrency_governor::{GateName, OverrideLayer, Overrides};

use crate::args::SettingArgs;

/// The settings of the operator, and the problems found in them.
#[derive(Debug)]
pub struct EngineSettings {
    /// The layers in the order flag, file, environment. The first that sets a gate decides.
    pub overrides: Overrides,
    /// One text per invalid value: its source, its name, the value and the allowed values. An invalid value is ignored, all
    /// others apply.
    pub problems: Vec<String>,
}

impl EngineSettings {
    /// Collects the settings from the flags, from the file that the flags name, and from the environment.
    pub fn collect(args: &SettingArgs, lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let mut problems = Vec::new();
        let flags = OverrideLayer::new("cli")
            .maybe_set(BLOCKING, args.host_blocking_concurrency)
            .maybe_set(IO, args.host_io_concurrency)
            .maybe_set(POOL, args.instance_pool_size);
        let file = args.config.as_deref().map(|path| file_layer(path, &mut problems));
        let overrides = Overrides::new().then(flags);
        let overrides = file.into_iter().fold(overrides, Overrides::then);
        let overrides =
            environment_layers(&lookup, &mut problems).into_iter().fold(overrides, Overrides::then);
        Self { overrides, problems }
    }
}

/// Reads the section `[capsule]` of the configuration file, and ignores other sections.
fn file_layer(path: &Path, problems: &mut Vec<String>) -> OverrideLayer {
    let name = path.display().to_string();
    let mut layer = OverrideLayer::new(name.clone());
    let document = match fs::read_to_string(path) {
        Ok(text) => text.parse::<toml::Table>().map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let document = match document {
        Ok(document) => document,
        Err(error) => {
            problems.push(format!("{name}: {}", error.trim_end()));
            return layer;
        }
    };
    let section = match document.get("capsule") {
        None => return layer,
        Some(toml::Value::Table(section)) => section,
        Some(other) => {
            problems.push(format!("{name}: capsule = {other} is not a section (allowed: [capsule])"));
            return layer;
        }
    };
    for (key, value) in section {
        let Some(gate) = gate_of(key) else {
            problems.push(format!(
                "{name}: capsule.{key} is not a setting (allowed: {})",
                KEYS.map(|(_, key)| key).join(", ")
            ));
            continue;
        };
        match value.as_integer().and_then(|value| usize::try_from(value).ok()) {
            Some(value) => layer = layer.set(gate, value),
            None => problems.push(format!(
                "{name}: capsule.{key} = {value} is not a whole number (allowed: 0 to {})",
                i64::MAX
            )),
        }
    }
    layer
}

/// Reads each variable as a layer of its own, so that an invalid variable does not affect the others.
fn environment_layers(
    lookup: impl Fn(&str) -> Option<OsString>,
    problems: &mut Vec<String>,
) -> Vec<OverrideLayer> {
    let layers = ENV_VARS.map(|variable| OverrideLayer::env([variable], &lookup));
    layers
        .into_iter()
        .filter_map(|layer| layer.map_err(|error| problems.push(error.to_string())).ok())
        .collect()
}

fn gate_of(key: &str) -> Option<GateName> {
    KEYS.iter().find(|(_, known)| *known == key).map(|(gate, _)| *gate)
}

/// The gate that each key of `[capsule]` sets.
const KEYS: [(GateName, &str); 3] = [
    (BLOCKING.name(), "host_blocking_concurrency"),
    (IO.name(), "host_io_concurrency"),
    (POOL.name(), "instance_pool_size"),
];

#[cfg(test)]
mod tests {
    use std::fs;

    use concurrency_governor::preset::astrid::{BLOCKING, IO, POOL};

    use super::EngineSettings;
    use crate::args::SettingArgs;

    fn setting_in_force(settings: &EngineSettings, gate: concurrency_governor::GateName) -> Option<usize> {
        settings
            .overrides
            .layers()
            .iter()
            .find_map(|layer| layer.settings().find(|(set, _)| *set == gate).map(|(_, value)| value))
    }

    /// A flag takes precedence over the file, and the file over the environment, separately for each gate.
    #[test]
    fn the_first_source_that_sets_a_gate_decides() {
        let file = file_with("[capsule]\nhost_io_concurrency = 20\ninstance_pool_size = 21\n");
        let args = SettingArgs {
            host_io_concurrency: Some(10),
            config: Some(file.path.clone()),
            ..SettingArgs::default()
        };
        let settings = EngineSettings::collect(&args, |_| Some("30".into()));
        assert_eq!(settings.problems, Vec::<String>::new());
        assert_eq!(setting_in_force(&settings, IO.name()), Some(10));
        assert_eq!(setting_in_force(&settings, POOL.name()), Some(21));
        assert_eq!(setting_in_force(&settings, BLOCKING.name()), Some(30));
    }

    /// An invalid value in the file or in the environment is reported, and does not affect other values.
    #[test]
    fn an_invalid_value_is_reported_and_affects_no_other() {
        let file = file_with(
            "[capsule]\nhost_io_concurrency = \"many\"\ninstance_pool_size = 21\nspeed = 3\n[other]\nx = 1\n",
        );
        let args = SettingArgs { config: Some(file.path.clone()), ..SettingArgs::default() };
        let settings = EngineSettings::collect(&args, |variable| {
            Some(if variable.ends_with("BLOCKING_CONCURRENCY") { "-1" } else { "30" }.into())
        });
        assert_eq!(setting_in_force(&settings, POOL.name()), Some(21), "the rest of the file applies");
        assert_eq!(setting_in_force(&settings, IO.name()), Some(30), "the rest of the environment applies");
        assert_eq!(
            setting_in_force(&settings, BLOCKING.name()),
            None,
            "without a valid setting the limit is derived"
        );
        let problems = settings.problems.join("\n");
        for name in [
            "capsule.host_io_concurrency = \"many\"",
            "capsule.speed",
            "ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY=\"-1\"",
        ] {
            assert!(problems.contains(name), "{name} in {problems}");
        }
        assert_eq!(settings.problems.len(), 3);
    }

    /// A file that is missing or not TOML affects only its own settings.
    #[test]
    fn an_unreadable_file_affects_only_its_own_settings() {
        let broken = file_with("[capsule\n");
        for path in [broken.path.clone(), broken.path.join("missing")] {
            let args = SettingArgs { config: Some(path), ..SettingArgs::default() };
            let settings = EngineSettings::collect(&args, |_| Some("30".into()));
            assert_eq!(settings.problems.len(), 1, "{:?}", settings.problems);
            assert_eq!(setting_in_force(&settings, IO.name()), Some(30));
        }
    }

    /// A temporary file. Dropping it removes the file.
    struct TestFile {
        path: std::path::PathBuf,
    }

    fn file_with(text: &str) -> TestFile {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("capsule-engine-{}-{}.toml", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).expect("the directory for temporary files is writable");
        TestFile { path }
    }

    impl Drop for TestFile {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
