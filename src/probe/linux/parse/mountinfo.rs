//! `/proc/self/mountinfo`: where the cgroup hierarchies are mounted.

use super::cgroup_membership::CgroupVersion;

/// One mount of a cgroup hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::probe) struct CgroupMount {
    /// The path of the cgroup that the mount shows as its root directory. It contains `..` if that cgroup is outside
    /// the reader's cgroup namespace.
    pub(in crate::probe) root: Vec<u8>,
    /// The mount point.
    pub(in crate::probe) point: Vec<u8>,
    /// The controllers of a v1 hierarchy. Empty for v2.
    controllers: Vec<Vec<u8>>,
    version: CgroupVersion,
}

impl CgroupMount {
    /// Returns `true` if the mount shows the hierarchy of this controller and version.
    pub(in crate::probe) fn has_controller(&self, version: CgroupVersion, controller: &str) -> bool {
        self.version == version
            && (version == CgroupVersion::V2
                || self.controllers.iter().any(|name| name == controller.as_bytes()))
    }
}

/// The visible cgroup mounts, collected line by line.
///
/// A mountinfo has no upper size: on a node with hundreds of containers it is longer than 1 MiB. Only the cgroup mounts
/// are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::probe) struct CgroupMounts {
    mounts: Vec<CgroupMount>,
    /// `true` if there were more mounts than are kept.
    is_incomplete: bool,
}

impl CgroupMounts {
    /// Adds a line.
    ///
    /// The last mount on a mount point hides the earlier ones, whatever its type. A line that does not parse is
    /// skipped, because some file systems write unescaped spaces.
    pub(in crate::probe) fn add_line(&mut self, line: &[u8]) {
        let Some((point, mount)) = parse_line(line) else { return };
        // The list is short however many lines there are, so a linear search is enough.
        self.mounts.retain(|hidden| hidden.point != point);
        if self.mounts.len() < MAX_MOUNTS {
            self.mounts.extend(mount);
        } else {
            self.is_incomplete |= mount.is_some();
        }
    }

    /// Returns the mounts in the order of their lines.
    pub(in crate::probe) fn iter(&self) -> impl Iterator<Item = &CgroupMount> {
        self.mounts.iter()
    }

    /// Returns `true` if there are more mounts than are kept.
    pub(in crate::probe) fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }
}

/// Parses `36 35 98:0 /root /point rw,noatime master:1 - cgroup source rw,cpu`.
///
/// Returns the mount point, and the mount if it is a cgroup mount.
fn parse_line(line: &[u8]) -> Option<(Vec<u8>, Option<CgroupMount>)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (root, point) = (fields.nth(3)?, fields.next()?);
    if point.first() != Some(&b'/') {
        return None;
    }
    let point = unescape(point);
    // A field with a single dash follows the mount options and any number of optional fields.
    let mount = (|| {
        fields.by_ref().skip(1).find(|field| *field == b"-")?;
        let version = match fields.next()? {
            b"cgroup" => CgroupVersion::V1,
            b"cgroup2" => CgroupVersion::V2,
            _ => return None,
        };
        let super_options = fields.nth(1).unwrap_or_default();
        let controllers = match version {
            CgroupVersion::V1 => super_options.split(|byte| *byte == b',').map(<[u8]>::to_vec).collect(),
            CgroupVersion::V2 => Vec::new(),
        };
        Some(CgroupMount { root: unescape(root), point: point.clone(), controllers, version })
    })();
    Some((point, mount))
}

/// Replaces octal escapes such as `\040` by their bytes.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = if *first == b'\\' { tail.split_at_checked(3) } else { None };
        let escaped = escaped.and_then(|(digits, tail)| Some((parse_octal(digits)?, tail)));
        let (byte, tail) = escaped.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = tail;
    }
    bytes
}

/// Parses three octal digits as a byte.
fn parse_octal(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    // `from_str_radix` would accept a sign.
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| u8::from_str_radix(digits, 8).ok())?
}

/// The most mounts that are kept. A host has fewer: v1 has a dozen controllers, and a process may see those of some
/// hundred containers beside its own.
const MAX_MOUNTS: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(content: &[u8]) -> Vec<CgroupMount> {
        let mut mounts = CgroupMounts::default();
        content.split(|byte| *byte == b'\n').for_each(|line| mounts.add_line(line));
        mounts.mounts
    }

    fn cgroup2(root: &str, point: &str) -> String {
        format!("30 24 0:26 {root} {point} rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate\n")
    }

    /// Root, mount point, version and controllers are parsed, whatever optional fields the line has.
    #[test]
    fn fields_are_parsed() {
        let text = "31 30 0:29 /a\\040b /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
        let [mount] = &parse(text.as_bytes())[..] else { panic!("one mount") };
        assert_eq!((&mount.root[..], &mount.point[..]), (&b"/a b"[..], &b"/sys/fs/cgroup/cpu,cpuacct"[..]));
        assert!(
            mount.has_controller(CgroupVersion::V1, "cpu")
                && mount.has_controller(CgroupVersion::V1, "cpuacct")
        );
        assert!(
            !mount.has_controller(CgroupVersion::V1, "cpuset")
                && !mount.has_controller(CgroupVersion::V2, "cpu")
        );
        let [mount] = &parse(cgroup2("/../..", "/c").as_bytes())[..] else { panic!("one mount") };
        assert_eq!(mount.root, b"/../..");
        assert!(
            mount.has_controller(CgroupVersion::V2, "cpu") && !mount.has_controller(CgroupVersion::V1, "cpu")
        );
    }

    /// The last mount on a mount point hides the others, even if it is not a cgroup mount.
    #[test]
    fn last_mount_on_a_point_hides_the_others() {
        let both = cgroup2("/old", "/c") + &cgroup2("/new", "/c");
        let mounts = parse(both.as_bytes());
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].root, b"/new");
        let hidden = cgroup2("/", "/c") + "31 30 0:29 / /c rw - tmpfs tmpfs rw,size=4k\n";
        assert!(parse(hidden.as_bytes()).is_empty());
        assert_eq!(parse((hidden + &cgroup2("/", "/d")).as_bytes()).len(), 1);
    }

    /// The file system type must match exactly, and lines of other mounts are skipped.
    #[test]
    fn foreign_lines_are_skipped() {
        for line in [
            "",
            "30 24 0:26 / /c",
            "30 24 0:26 / c rw - cgroup2 cgroup2 rw",
            "30 24 0:26 / /c rw shared:4 cgroup2 cgroup2 rw",
            "30 24 0:26 / /c - cgroup2 cgroup2 rw",
            "30 24 0:26 / /c rw - cgroup3 cgroup2 rw",
            "30 24 0:26 / /c rw - cgroup2x cgroup2 rw",
            "40 24 0:4 net:[4026532281] /run/netns/x rw shared:2 - nsfs nsfs rw",
            "41 24 0:5 / /mnt rw - 9p drvfs rw,aname=drvfs;path=C:\\;symlinkroot=/mnt/ - cgroup2 x rw",
        ] {
            assert!(parse(line.as_bytes()).is_empty(), "{line}");
            assert_eq!(parse(format!("{line}\n{}", cgroup2("/", "/e")).as_bytes()).len(), 1, "{line}");
        }
        let long = format!("50 24 0:9 / /o rw - overlay o lowerdir={}\n", "/x:".repeat(30_000));
        assert_eq!(parse((long + &cgroup2("/", "/c")).as_bytes()).len(), 1);
    }

    /// Three octal digits after a backslash are one byte; any other text after a backslash is unchanged.
    #[test]
    fn escapes_are_octal() {
        for (escaped, text) in [
            (r"\040", &b" "[..]),
            (r"a\011\012\134\043b", b"a\t\n\\#b"),
            (r"\377", b"\xff"),
            (r"\400", b"\\400"),
            (r"\0", b"\\0"),
            (r"\+12", b"\\+12"),
            (r"\\040", b"\\ "),
            (r"\", b"\\"),
        ] {
            assert_eq!(unescape(escaped.as_bytes()), text, "{escaped}");
        }
    }

    /// The number of kept mounts is bounded, and the bound is reported.
    #[test]
    fn kept_mounts_are_bounded() {
        let mut mounts = CgroupMounts::default();
        for number in 0..MAX_MOUNTS {
            mounts.add_line(cgroup2("/", &format!("/{number}")).trim_end().as_bytes());
        }
        mounts.add_line(b"31 30 0:29 / /other rw - tmpfs tmpfs rw");
        assert!(!mounts.is_incomplete());
        mounts.add_line(cgroup2("/", "/one-more").trim_end().as_bytes());
        assert!(mounts.is_incomplete());
        assert_eq!(mounts.iter().count(), MAX_MOUNTS);
    }

    proptest! {
        /// No bytes make the parser panic, and preceding foreign lines change nothing.
        #[test]
        fn any_bytes_are_parsed(
            before in prop_oneof![
                any::<Vec<u8>>(),
                r"([0-9 /:.,-]|cgroup2?| - |\\[0-7]{0,3}|\n){0,40}".prop_map(String::into_bytes),
            ],
        ) {
            let ours = cgroup2("/", "/sys/fs/cgroup");
            let mounts = parse(&[&before[..], b"\n", ours.as_bytes()].concat());
            prop_assert_eq!(mounts.last().cloned(), parse(ours.as_bytes()).pop());
            for mount in mounts {
                prop_assert_eq!(mount.point[0], b'/');
            }
        }
    }
}
