//! Which control groups a process is in: `/proc/self/cgroup`.

use super::Version;

/// A line: a hierarchy, and the path of the process's group in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Membership<'a> {
    pub(super) version: Version,
    pub(super) path: &'a [u8],
}

/// The line that counts for a controller: the version 1 hierarchy that has it, otherwise version 2.
pub(super) fn find<'a>(listed: &'a [u8], controller: &str) -> Option<Membership<'a>> {
    let mut unified = None;
    for (id, controllers, path) in listed.split(|byte| *byte == b'\n').filter_map(fields) {
        if controllers.split(|byte| *byte == b',').any(|name| name == controller.as_bytes()) {
            return Some(Membership { version: Version::V1, path });
        }
        if id == b"0" && controllers.is_empty() && unified.is_none() {
            unified = Some(Membership { version: Version::V2, path });
        }
    }
    unified
}

/// Whether every line could be split, so that a controller that is in none of them is in no hierarchy.
pub(super) fn is_well_formed(listed: &[u8]) -> bool {
    listed.split(|byte| *byte == b'\n').all(|line| line.is_empty() || fields(line).is_some())
}

/// The names that a path of groups consists of, `..` among them; `None` if it does not start at the root.
pub(super) fn components(path: &[u8]) -> Option<Vec<&[u8]>> {
    let path = path.strip_prefix(b"/")?;
    Some(path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect())
}

/// A line's three fields. Names of groups hold colons.
fn fields(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut fields = line.splitn(3, |byte| *byte == b':');
    let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    (!id.is_empty() && id.iter().all(u8::is_ascii_digit)).then_some((id, controllers, path))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The version 1 hierarchy of a controller counts before version 2, and names of hierarchies are no controllers.
    #[test]
    fn line_of_the_controller_counts() {
        let listed = b"4:memory:/m\n2:cpu,cpuacct:/c:d\n1:name=systemd:/s\n0::/u\n";
        let v1 = |path| Some(Membership { version: Version::V1, path });
        assert_eq!(find(listed, "cpu"), v1(&b"/c:d"[..]));
        assert_eq!(find(listed, "memory"), v1(&b"/m"[..]));
        assert_eq!(find(listed, "pids"), Some(Membership { version: Version::V2, path: b"/u" }));
        assert_eq!(find(b"1:name=pids:/s\n", "pids"), None);
        assert_eq!(find(b"", "pids"), None);
    }

    /// Paths fall into names; what does not start at the root is none.
    #[test]
    fn paths_fall_into_names() {
        assert_eq!(components(b"/").unwrap(), Vec::<&[u8]>::new());
        assert_eq!(components(b"/../a//b c/").unwrap(), [&b".."[..], b"a", b"b c"]);
        assert_eq!(components(b"a/b"), None);
        assert_eq!(components(b""), None);
    }

    proptest! {
        /// No bytes make the parsers panic, and foreign lines change nothing.
        #[test]
        fn any_bytes_are_read(
            bytes in prop_oneof![any::<Vec<u8>>(), "([0-9]?:(cpu|memory|,|name=x)?:(/|[a-z]|[.][.])*\n?){0,6}"
                .prop_map(String::into_bytes)],
        ) {
            is_well_formed(&bytes);
            if let Some(membership) = find(&bytes, "cpu") {
                components(membership.path);
            }
            let first = [b"7:freezer:/cpu\n9:cpu:/x:y\n", &bytes[..]].concat();
            prop_assert_eq!(find(&first, "cpu"), Some(Membership { version: Version::V1, path: b"/x:y" }));
        }
    }
}
