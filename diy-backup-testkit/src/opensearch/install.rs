//! Where the parts of the server are, and how they become a server's folder.

use std::path::{Path, PathBuf};

use crate::command;
use crate::error::{Error, ErrorKind, IoContext, Result};

/// The release in `pom.xml`.
const RELEASE: &str = "2.19.6";
/// Names the folder of the parts where it is not in the build folder.
const ELSEWHERE: &str = "DIY_BACKUP_OPENSEARCH";

const DESCRIPTOR: &str = "\
description=HTTP and transport\n\
name=transport-netty4\n\
classname=org.opensearch.transport.Netty4Plugin\n\
java.version=11\n\
has.native.controller=false\n";

const POLICY: &str = "grant {\n\
  permission java.lang.RuntimePermission \"getClassLoader\";\n\
  permission java.lang.RuntimePermission \"accessDeclaredMembers\";\n\
  permission java.lang.reflect.ReflectPermission \"suppressAccessChecks\";\n\
  permission java.net.SocketPermission \"*\", \"accept,connect,listen,resolve\";\n\
  permission java.io.FilePermission \"/proc/sys/net/core/somaxconn\", \"read\";\n\
};\n";

/// The parts and the Java that runs them.
#[derive(Debug)]
pub(super) struct Installation {
    pub(super) java: PathBuf,
    parts: PathBuf,
}

impl Installation {
    pub(super) fn find() -> Result<Self> {
        let java = command::require("java", "default-jre-headless")?;
        let folder = format!("tools/opensearch-{RELEASE}");
        let named = std::env::var_os(ELSEWHERE).map(PathBuf::from);
        let program = std::env::current_exe().ok();
        let beside = program
            .iter()
            .flat_map(|program| program.ancestors().skip(1));
        let built = beside.map(|ancestor| ancestor.join(&folder));
        let parts = named
            .into_iter()
            .chain(built)
            .find(|parts| parts.is_dir())
            .ok_or_else(|| {
                let message = "the parts of an OpenSearch server are not there (`cargo xtask setup` fetches them)";
                Error::new(ErrorKind::Missing, message).with_hint("cargo xtask setup")
            })?;
        Ok(Self { java, parts })
    }

    /// Makes `home` a server's folder. The parts are copied, because the server's account may not be allowed to reach
    /// the build folder.
    pub(super) fn copy_to(&self, home: &Path) -> Result<()> {
        let module = home.join("modules/transport-netty4");
        let lib = home.join("lib");
        for folder in [&module, &lib] {
            std::fs::create_dir_all(folder).doing("make the folder", folder)?;
        }
        for entry in std::fs::read_dir(&self.parts).doing("read", &self.parts)? {
            let jar = entry.doing("read", &self.parts)?.path();
            let Some(name) = jar.file_name() else {
                continue;
            };
            let shown = name.to_string_lossy();
            let of_module = shown.starts_with("netty-") || shown.starts_with("transport-netty4");
            let to = if of_module { &module } else { &lib }.join(name);
            std::fs::copy(&jar, &to).doing("copy", &jar)?;
        }
        let descriptor = module.join("plugin-descriptor.properties");
        let text = format!("{DESCRIPTOR}version={RELEASE}\nopensearch.version={RELEASE}\n");
        std::fs::write(&descriptor, text).doing("write", &descriptor)?;
        let policy = module.join("plugin-security.policy");
        std::fs::write(&policy, POLICY).doing("write", &policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_the_one_that_setup_fetches() {
        let pom = include_str!("pom.xml");
        assert!(pom.contains(&format!("<opensearch>{RELEASE}</opensearch>")));
    }
}
