//! What the numbers were measured on.

use std::fmt;
use std::process::Command;

use crate::Result;

pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gigabytes: u64,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    pub(crate) tools: Vec<String>,
}

impl Machine {
    pub(crate) fn describe() -> Result<Self> {
        let processor = field("/proc/cpuinfo", "model name")
            .or_else(|| field("/proc/cpuinfo", "CPU part"))
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let memory = field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok())
            .unwrap_or(0);
        let folder = std::env::temp_dir();
        let file_system = first_line(
            Command::new("stat")
                .args(["--file-system", "--format=%T"])
                .arg(&folder),
        );
        Ok(Self {
            processor,
            cores: std::thread::available_parallelism()?.get(),
            memory_gigabytes: memory.div_ceil(1 << 20),
            kernel: first_line(Command::new("uname").args(["-s", "-r"])),
            file_system,
            tools: ["bash", "curl", "rsync", "tar", "gzip"]
                .iter()
                .map(|tool| first_line(Command::new(tool).arg("--version")))
                .map(|line| short(&line))
                .collect(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, {} cores, {} GB of memory, {}, {}",
            self.processor, self.cores, self.memory_gigabytes, self.kernel, self.file_system
        )?;
        write!(f, "{}", self.tools.join("; "))
    }
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout);
    let text = String::from_utf8_lossy(&output.unwrap_or_default()).into_owned();
    text.lines().next().unwrap_or("unknown").to_owned()
}

/// Up to the first part of a version line that tells of platforms and libraries.
fn short(line: &str) -> String {
    let line = line.split(" (x86").next().unwrap_or(line);
    line.split("  ").next().unwrap_or(line).to_owned()
}
