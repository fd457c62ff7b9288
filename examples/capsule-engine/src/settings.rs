//! The engine's three settings, from flags, file and environment in the engine's order.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use concurrency_governor::preset::astrid::{BLOCKING, ENV_VARS, IO, POOL};
use concurrency_governor::{GateName, OverrideLayer, Overrides};

use crate::args::SettingArgs;

/// What operators set, and what of it could not be understood.
#[derive(Debug)]
pub struct Settings {
    /// Flag, then file, then environment: the first that sets a gate wins.
    pub overrides: Overrides,
    /// Each bad value by its name, with where it stands and what is allowed. It is left out; all others hold.
    pub faults: Vec<String>,
}

impl Settings {
    pub fn of(args: &SettingArgs, lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let mut faults = Vec::new();
        let flags = OverrideLayer::new("cli")
            .maybe_set(BLOCKING, args.host_blocking_concurrency)
            .maybe_set(IO, args.host_io_concurrency)
            .maybe_set(POOL, args.instance_pool_size);
        let file = args.config.as_deref().map(|path| file(path, &mut faults));
        let overrides = Overrides::new().then(flags);
        let overrides = file.into_iter().fold(overrides, Overrides::then);
        let overrides = environment(&lookup, &mut faults).into_iter().fold(overrides, Overrides::then);
        Self { overrides, faults }
    }
}

/// `[capsule]` of the configuration file. Other sections are other people's.
fn file(path: &Path, faults: &mut Vec<String>) -> OverrideLayer {
    let name = path.display().to_string();
    let mut layer = OverrideLayer::new(name.clone());
    let document = match fs::read_to_string(path) {
        Ok(text) => text.parse::<toml::Table>().map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let document = match document {
        Ok(document) => document,
        Err(error) => {
            faults.push(format!("{name}: {}", error.trim_end()));
            return layer;
        }
    };
    let section = match document.get("capsule") {
        None => return layer,
        Some(toml::Value::Table(section)) => section,
        Some(other) => {
            faults.push(format!("{name}: capsule = {other} is no section (allowed: [capsule])"));
            return layer;
        }
    };
    for (key, value) in section {
        let Some(gate) = gate_of(key) else {
            faults.push(format!(
                "{name}: capsule.{key} is no setting (allowed: {})",
                KEYS.map(|(_, key)| key).join(", ")
            ));
            continue;
        };
        match value.as_integer().and_then(|value| usize::try_from(value).ok()) {
            Some(value) => layer = layer.set(gate, value),
            None => faults.push(format!(
                "{name}: capsule.{key} = {value} is not a whole number (allowed: 0 to {})",
                i64::MAX
            )),
        }
    }
    layer
}

/// One layer a variable, so that one that is wrong takes no other along.
fn environment(lookup: impl Fn(&str) -> Option<OsString>, faults: &mut Vec<String>) -> Vec<OverrideLayer> {
    let layers = ENV_VARS.map(|variable| OverrideLayer::env([variable], &lookup));
    layers
        .into_iter()
        .filter_map(|layer| layer.map_err(|fault| faults.push(fault.to_string())).ok())
        .collect()
}

fn gate_of(key: &str) -> Option<GateName> {
    KEYS.iter().find(|(_, known)| *known == key).map(|(gate, _)| *gate)
}

/// Which key of `[capsule]` sets which gate.
const KEYS: [(GateName, &str); 3] = [
    (BLOCKING.name(), "host_blocking_concurrency"),
    (IO.name(), "host_io_concurrency"),
    (POOL.name(), "instance_pool_size"),
];

#[cfg(test)]
mod tests {
    use std::fs;

    use concurrency_governor::preset::astrid::{BLOCKING, IO, POOL};

    use super::Settings;
    use crate::args::SettingArgs;

    fn in_force(settings: &Settings, gate: concurrency_governor::GateName) -> Option<usize> {
        settings
            .overrides
            .layers()
            .iter()
            .find_map(|layer| layer.settings().find(|(set, _)| *set == gate).map(|(_, value)| value))
    }

    /// Flag, then file, then environment, gate by gate.
    #[test]
    fn the_first_that_sets_a_gate_wins() {
        let file = file_with("[capsule]\nhost_io_concurrency = 20\ninstance_pool_size = 21\n");
        let args = SettingArgs {
            host_io_concurrency: Some(10),
            config: Some(file.path.clone()),
            ..SettingArgs::default()
        };
        let settings = Settings::of(&args, |_| Some("30".into()));
        assert_eq!(settings.faults, Vec::<String>::new());
        assert_eq!(in_force(&settings, IO.name()), Some(10));
        assert_eq!(in_force(&settings, POOL.name()), Some(21));
        assert_eq!(in_force(&settings, BLOCKING.name()), Some(30));
    }

    /// A bad value is named, and takes nothing else along, in the file and in the environment alike.
    #[test]
    fn a_bad_value_is_named_and_drops_nothing_else() {
        let file = file_with(
            "[capsule]\nhost_io_concurrency = \"many\"\ninstance_pool_size = 21\nspeed = 3\n[other]\nx = 1\n",
        );
        let args = SettingArgs { config: Some(file.path.clone()), ..SettingArgs::default() };
        let settings = Settings::of(&args, |variable| {
            Some(if variable.ends_with("BLOCKING_CONCURRENCY") { "-1" } else { "30" }.into())
        });
        assert_eq!(in_force(&settings, POOL.name()), Some(21), "the rest of the file holds");
        assert_eq!(in_force(&settings, IO.name()), Some(30), "and the rest of the environment");
        assert_eq!(in_force(&settings, BLOCKING.name()), None, "what is left is the host's");
        let faults = settings.faults.join("\n");
        for name in [
            "capsule.host_io_concurrency = \"many\"",
            "capsule.speed",
            "ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY=\"-1\"",
        ] {
            assert!(faults.contains(name), "{name} in {faults}");
        }
        assert_eq!(settings.faults.len(), 3);
    }

    /// A file that is not there, or is no TOML, costs the settings of that file alone.
    #[test]
    fn a_broken_file_costs_itself_alone() {
        let broken = file_with("[capsule\n");
        for path in [broken.path.clone(), broken.path.join("nothing")] {
            let args = SettingArgs { config: Some(path), ..SettingArgs::default() };
            let settings = Settings::of(&args, |_| Some("30".into()));
            assert_eq!(settings.faults.len(), 1, "{:?}", settings.faults);
            assert_eq!(in_force(&settings, IO.name()), Some(30));
        }
    }

    /// A file that is gone when the test is over.
    struct TestFile {
        path: std::path::PathBuf,
    }

    fn file_with(text: &str) -> TestFile {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("capsule-engine-{}-{}.toml", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).expect("there is a directory for temporary files");
        TestFile { path }
    }

    impl Drop for TestFile {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
