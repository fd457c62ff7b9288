//! Certificates that a test makes with openssl.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::server::free_port;

/// Two authorities, `right` and `wrong`. `right` has signed the certificate of a server at 127.0.0.1, one of another host, and one
/// of the client `postgres`. `wrong` has signed one of a client of the same name, `stranger`.
pub(super) struct TestCertificates {
    folder: PathBuf,
}

impl TestCertificates {
    pub(super) fn new(openssl: &Path) -> Self {
        let folder = std::env::temp_dir().join(format!("fleet-tls-{}-{}", std::process::id(), free_port()));
        fs::create_dir_all(&folder).unwrap();
        let files = Self { folder };
        files.write(
            "config",
            "[req]\ndistinguished_name = name\n[name]\n[authority]\nbasicConstraints = critical, CA:TRUE\n\
             [server]\nsubjectAltName = IP:127.0.0.1\n[other-host]\nsubjectAltName = DNS:other.internal\n\
             [client]\nbasicConstraints = CA:FALSE\n[stranger]\nbasicConstraints = CA:FALSE\n",
        );
        let run = |arguments: &str| {
            let mut command = Command::new(openssl);
            command.current_dir(&files.folder).args(arguments.split(' '));
            let Output { status, stderr, .. } = command.output().unwrap();
            assert!(status.success(), "{arguments}: {}", String::from_utf8_lossy(&stderr));
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -config config";
        for name in ["right", "wrong"] {
            run(&format!(
                "req -x509 {key} -keyout {name}.key -out {name}.pem -days 2 -subj /CN={name} -extensions authority"
            ));
        }
        for (name, subject, authority) in [
            ("server", "server", "right"),
            ("other-host", "other-host", "right"),
            ("client", "postgres", "right"),
            ("stranger", "postgres", "wrong"),
        ] {
            run(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={subject}"));
            run(&format!(
                "x509 -req -in {name}.csr -out {name}.pem -CA {authority}.pem -CAkey {authority}.key -CAcreateserial \
                 -days 2 -extfile config -extensions {name}"
            ));
        }
        for name in ["server", "other-host"] {
            files.give_to_server(&format!("{name}.key"));
        }
        run("pkcs8 -topk8 -in client.key -out locked.key -passout pass:secret");
        files
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    /// PostgreSQL reads a key only if no other user can, and does not run as root.
    fn give_to_server(&self, name: &str) {
        const NOBODY: u32 = 65534;
        let path = self.path(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
}

impl Drop for TestCertificates {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
