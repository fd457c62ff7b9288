//! Where the control groups are mounted: `/proc/self/mountinfo`.

use super::Version;

/// A line: what part of which file system is shown where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// The directory of the file system that is shown; of control groups, a group's path. May hold `..`, where the
    /// group is outside of the reader's namespace.
    pub(super) root: Vec<u8>,
    /// The directory that it is shown at.
    pub(super) point: Vec<u8>,
    /// The controllers of a version 1 hierarchy; none of version 2.
    controllers: Vec<Vec<u8>>,
    version: Version,
}

impl Mount {
    /// Whether it shows the groups of a controller in this version.
    pub(super) fn shows(&self, version: Version, controller: &str) -> bool {
        self.version == version
            && (version == Version::V2 || self.controllers.iter().any(|name| name == controller.as_bytes()))
    }
}

/// The mounts of control groups that can be seen: of two mounts on one point the last one hides the other, whatever it
/// is. A line that is none is skipped: some file systems write spaces into theirs.
pub(super) fn parse(mountinfo: &[u8]) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in mountinfo.split(|byte| *byte == b'\n') {
        let Some((point, mount)) = parse_line(line) else { continue };
        // A host has a handful of these, however many lines there are.
        mounts.retain(|hidden| hidden.point != point);
        if mounts.len() < MOST_MOUNTS {
            mounts.extend(mount);
        }
    }
    mounts
}

/// `36 35 98:0 /root /point rw,noatime master:1 - cgroup source rw,cpu`: the point, and the mount if it is one of
/// control groups.
fn parse_line(line: &[u8]) -> Option<(Vec<u8>, Option<Mount>)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (root, point) = (fields.nth(3)?, fields.next()?);
    if point.first() != Some(&b'/') {
        return None;
    }
    let point = unescape(point);
    // Behind the options of the mount, and any number of tags, stands a dash of its own.
    let mount = (|| {
        fields.by_ref().skip(1).find(|field| *field == b"-")?;
        let version = match fields.next()? {
            b"cgroup" => Version::V1,
            b"cgroup2" => Version::V2,
            _ => return None,
        };
        let options = fields.nth(1).unwrap_or_default();
        let controllers = match version {
            Version::V1 => options.split(|byte| *byte == b',').map(<[u8]>::to_vec).collect(),
            Version::V2 => Vec::new(),
        };
        Some(Mount { root: unescape(root), point: point.clone(), controllers, version })
    })();
    Some((point, mount))
}

/// The text with `\040` and the like as the bytes that they stand for.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = if *first == b'\\' { tail.split_at_checked(3) } else { None };
        let escaped = escaped.and_then(|(digits, tail)| Some((octal(digits)?, tail)));
        let (byte, tail) = escaped.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = tail;
    }
    bytes
}

/// Three octal digits as a byte.
fn octal(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    // The parser would take a sign.
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| u8::from_str_radix(digits, 8).ok())?
}

/// More than any host mounts: version 1 has a dozen controllers, and a container may see each twice.
const MOST_MOUNTS: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cgroup2(root: &str, point: &str) -> String {
        format!("30 24 0:26 {root} {point} rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate\n")
    }

    /// Root, point, version and controllers of a line, whatever tags it has.
    #[test]
    fn fields_are_found() {
        let text = "31 30 0:29 /a\\040b /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
        let [mount] = &parse(text.as_bytes())[..] else { panic!("one mount") };
        assert_eq!((&mount.root[..], &mount.point[..]), (&b"/a b"[..], &b"/sys/fs/cgroup/cpu,cpuacct"[..]));
        assert!(mount.shows(Version::V1, "cpu") && mount.shows(Version::V1, "cpuacct"));
        assert!(!mount.shows(Version::V1, "cpuset") && !mount.shows(Version::V2, "cpu"));
        let [mount] = &parse(cgroup2("/../..", "/c").as_bytes())[..] else { panic!("one mount") };
        assert_eq!(mount.root, b"/../..");
        assert!(mount.shows(Version::V2, "cpu") && !mount.shows(Version::V1, "cpu"));
    }

    /// Of two mounts on one point the last is the one that is seen, also where it is no mount of control groups.
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

    /// Types are taken to the letter, and lines that are none are passed over.
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

    /// Three octal digits are a byte; anything else behind a backslash stands for itself.
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

    proptest! {
        /// No bytes make it panic, and foreign lines before and after change nothing.
        #[test]
        fn any_bytes_are_read(
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
