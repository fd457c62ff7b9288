//! `/proc/self/cgroup`: the cgroups that a process is in.

/// The two cgroup versions. They differ in the files of a group, and one host may use both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) enum CgroupVersion {
    V1,
    V2,
}

/// One line: a hierarchy and the path of the process's cgroup in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) struct CgroupMembership<'a> {
    pub(in crate::probe) version: CgroupVersion,
    pub(in crate::probe) path: &'a [u8],
}

/// Returns the line that applies to a controller: its v1 hierarchy if there is one, otherwise the v2 hierarchy.
pub(in crate::probe) fn find<'a>(content: &'a [u8], controller: &str) -> Option<CgroupMembership<'a>> {
    let mut unified = None;
    for (id, controllers, path) in content.split(|byte| *byte == b'\n').filter_map(split_fields) {
        if controllers.split(|byte| *byte == b',').any(|name| name == controller.as_bytes()) {
            return Some(CgroupMembership { version: CgroupVersion::V1, path });
        }
        if id == b"0" && controllers.is_empty() && unified.is_none() {
            unified = Some(CgroupMembership { version: CgroupVersion::V2, path });
        }
    }
    unified
}

/// Returns `true` if every line is valid, so that a controller without a line is really in no hierarchy.
pub(in crate::probe) fn is_well_formed(content: &[u8]) -> bool {
    content.split(|byte| *byte == b'\n').all(|line| line.is_empty() || split_fields(line).is_some())
}

/// Splits a cgroup path into its names, `..` included. Returns `None` if the path does not start with `/`.
pub(in crate::probe) fn path_components(path: &[u8]) -> Option<Vec<&[u8]>> {
    let path = path.strip_prefix(b"/")?;
    Some(path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect())
}

/// Splits a line into hierarchy ID, controllers and path. The path may contain colons.
fn split_fields(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut fields = line.splitn(3, |byte| *byte == b':');
    let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    (!id.is_empty() && id.iter().all(u8::is_ascii_digit)).then_some((id, controllers, path))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A controller's v1 hierarchy takes precedence over v2, and a hierarchy's name is not a controller.
    #[test]
    fn v1_line_of_the_controller_takes_precedence() {
        let content = b"4:memory:/m\n2:cpu,cpuacct:/c:d\n1:name=systemd:/s\n0::/u\n";
        let v1 = |path| Some(CgroupMembership { version: CgroupVersion::V1, path });
        assert_eq!(find(content, "cpu"), v1(&b"/c:d"[..]));
        assert_eq!(find(content, "memory"), v1(&b"/m"[..]));
        assert_eq!(find(content, "pids"), Some(CgroupMembership { version: CgroupVersion::V2, path: b"/u" }));
        assert_eq!(find(b"1:name=pids:/s\n", "pids"), None);
        assert_eq!(find(b"", "pids"), None);
    }

    /// A path is split into its names; a path that does not start at the root is rejected.
    #[test]
    fn paths_are_split_into_names() {
        assert_eq!(path_components(b"/").unwrap(), Vec::<&[u8]>::new());
        assert_eq!(path_components(b"/../a//b c/").unwrap(), [&b".."[..], b"a", b"b c"]);
        assert_eq!(path_components(b"a/b"), None);
        assert_eq!(path_components(b""), None);
    }

    proptest! {
        /// No bytes make the parsers panic, and foreign lines change nothing.
        #[test]
        fn any_bytes_are_parsed(
            bytes in prop_oneof![any::<Vec<u8>>(), "([0-9]?:(cpu|memory|,|name=x)?:(/|[a-z]|[.][.])*\n?){0,6}"
                .prop_map(String::into_bytes)],
        ) {
            is_well_formed(&bytes);
            if let Some(membership) = find(&bytes, "cpu") {
                path_components(membership.path);
            }
            let first = [b"7:freezer:/cpu\n9:cpu:/x:y\n", &bytes[..]].concat();
            let expected = CgroupMembership { version: CgroupVersion::V1, path: b"/x:y" };
            prop_assert_eq!(find(&first, "cpu"), Some(expected));
        }
    }
}
