//! The machine below: cores to pin to, and what `/proc` says of a process and its children.
//!
//! Linux only: elsewhere the benchmark builds, and says at the start that it cannot measure.

use std::collections::HashMap;
use std::process::{Child, Command};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// CPU time since a process tree started, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    /// What was used since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
        }
    }
}

/// Resident memory of a process tree, in KiB. Pages that two processes share count twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// Now (`Rss` of `smaps_rollup`).
    pub(crate) now: u64,
    /// The highest so far (`VmHWM`).
    pub(crate) peak: u64,
}

/// Time used by `root` and everything below it (utime and stime, in ticks of 10 ms).
///
/// # Errors
/// When the process is gone.
pub(crate) fn cpu(root: u32) -> Result<Cpu> {
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let mut sum = Cpu::default();
    for pid in tree(root)? {
        let stat = stat(pid).with_context(|| format!("process {pid} is gone"))?;
        sum.user += stat.user_ticks as f64 / ticks;
        sum.system += stat.system_ticks as f64 / ticks;
    }
    Ok(sum)
}

/// Resident memory of `root` and everything below it.
///
/// # Errors
/// When the process is gone.
pub(crate) fn memory(root: u32) -> Result<Memory> {
    let mut sum = Memory::default();
    for pid in tree(root)? {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("process {pid} is gone"))?;
        let field = |text: &str, name: &str| -> Option<u64> {
            text.lines()
                .find_map(|line| line.strip_prefix(name))?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        };
        // The kernel keeps `VmRSS` in counters per core and adds them up only now and then: it is off by up to
        // a few hundred KiB, which is all that a thousand sessions may cost. The rollup counts pages.
        let pages = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        sum.now += field(&pages, "Rss:")
            .or_else(|| field(&status, "VmRSS:"))
            .unwrap_or(0);
        sum.peak += field(&status, "VmHWM:").unwrap_or(0);
    }
    Ok(sum)
}

struct Stat {
    parent: u32,
    user_ticks: u64,
    system_ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads a `/proc/PID/stat` line (proc_pid_stat(5)): the name may hold spaces and brackets.
fn parse_stat(line: &str) -> Option<Stat> {
    let fields: Vec<&str> = line[line.rfind(')')? + 1..].split_whitespace().collect();
    // Field 3 (the state) is the first behind the name.
    let field = |number: usize| fields.get(number - 3);
    Some(Stat {
        parent: field(4)?.parse().ok()?,
        user_ticks: field(14)?.parse().ok()?,
        system_ticks: field(15)?.parse().ok()?,
    })
}

fn tree(root: u32) -> Result<Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").context("the benchmark needs Linux's /proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}

/// Which core the target runs on, and which one carries the generator and the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Cores {
    pub(crate) target: usize,
    pub(crate) rest: usize,
}

/// Starts `command` on `core`, where all its threads and children stay too.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn spawn_on(core: usize, back_to: usize, command: &mut Command) -> Result<Child> {
    // A child inherits its parent's mask: moving ourselves there and back leaves no moment in which the
    // child, or a thread it starts at once, runs anywhere else.
    pin(core)?;
    let child = command.spawn();
    pin(back_to)?;
    child.with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))
}

/// Moves this process to `core`.
///
/// # Errors
/// When there is no such core, or the system cannot pin.
#[cfg(target_os = "linux")]
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).with_context(|| format!("cannot pin to core {core}"))
}

/// Says that this system is not measured.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_core: usize) -> Result<()> {
    anyhow::bail!("the benchmark pins processes and reads /proc: it runs on Linux only")
}

/// What a reader of the figures wants to know of the machine.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Description {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
}

/// Describes this machine.
pub(crate) fn describe() -> Description {
    let first_line = |path: &str| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let processor = first_line("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?
                .split_once(": ")
                .map(|(_, name)| name.to_owned())
        })
        .unwrap_or_else(|| "unknown".to_owned());
    Description {
        processor,
        // Not `available_parallelism`, which counts only what we are pinned to.
        cores: first_line("/proc/cpuinfo")
            .lines()
            .filter(|line| line.starts_with("processor"))
            .count(),
        kernel: first_line("/proc/sys/kernel/osrelease"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_program_is_called() {
        let line = "7 (a) b (c) S 5 7 7 0 -1 4194560 2128 39029 0 13 21 34 24 10 20 0 1 0 69537 1 2";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.parent, stat.user_ticks, stat.system_ticks), (5, 21, 34));
        assert!(parse_stat("7 (a) S 5").is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_tree_holds_its_children() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        let found = tree(std::process::id()).unwrap();
        // A program that is just beginning has nothing yet, or so little that the kernel has not added it up.
        let begun = std::time::Instant::now();
        let has_memory = || memory(child.id()).is_ok_and(|memory| memory.now > 0 && memory.peak > 0);
        while !has_memory() && begun.elapsed().as_secs() < 20 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let measured = memory(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&child.id()) && found[0] == std::process::id());
        assert!(measured.now > 0 && measured.peak > 0);
    }
}
