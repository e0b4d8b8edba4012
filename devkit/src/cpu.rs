//! What a process used: CPU time and memory, read from `/proc` (Linux only).

use std::time::Duration;

use anyhow::Context as _;

/// Use of one process so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// User and system time of all its threads, also of ended ones. Resolution: one clock tick (10 ms).
    pub cpu: Duration,
    /// Resident memory now, in bytes.
    pub resident: u64,
    /// The largest resident memory so far, in bytes.
    pub peak: u64,
}

/// Reads the use of process `pid`. An error when there is no such process, or no `/proc`.
pub fn usage(pid: u32) -> anyhow::Result<Usage> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    let ticks = cpu_ticks(&read("stat")?).context("unexpected /proc/<pid>/stat")?;
    let status = read("status")?;
    Ok(Usage {
        cpu: Duration::from_secs(ticks)
            / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100),
        resident: kibibytes(&status, "VmRSS:").context("no VmRSS in /proc/<pid>/status")?,
        peak: kibibytes(&status, "VmHWM:").context("no VmHWM in /proc/<pid>/status")?,
    })
}

/// CPU time of the threads that process `pid` has now, to the nanosecond. What ended threads used is not in it, so it is
/// for programs that end none, such as Envoy.
pub fn of_threads(pid: u32) -> anyhow::Result<Duration> {
    let threads = format!("/proc/{pid}/task");
    let mut sum = 0;
    for thread in std::fs::read_dir(&threads).with_context(|| format!("cannot read {threads}"))? {
        let path = thread?.path().join("schedstat");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let first = text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok());
        sum += first.with_context(|| format!("unexpected {}", path.display()))?;
    }
    Ok(Duration::from_nanos(sum))
}

/// utime + stime: fields 14 and 15. Field 2 is the name in parentheses and may itself hold spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat
        .get(stat.rfind(')')? + 1..)?
        .split_ascii_whitespace()
        .skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn kibibytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_may_hold_anything() {
        let stat =
            "7 (a ) b) S 1 7 7 0 -1 4194560 900 0 3 0 120 34 0 0 20 0 5 0 100 1000 200 18446744073709551615";
        assert_eq!(cpu_ticks(stat), Some(154));
        assert_eq!(cpu_ticks("7 (a"), None);
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(
            kibibytes("Name:\tx\nVmHWM:\t    9 kB\nVmRSS:\t    8 kB\n", "VmRSS:"),
            Some(8192)
        );
        assert_eq!(kibibytes("Name:\tx\n", "VmRSS:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn work_shows_up() {
        let before = usage(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while usage(std::process::id()).unwrap().cpu < before.cpu + Duration::from_millis(30) {
            sum = (0..100_000).fold(sum, |sum: u64, n| sum.wrapping_mul(31).wrapping_add(n));
        }
        assert!(usage(std::process::id()).unwrap().peak >= before.resident);
        assert!(usage(u32::MAX).is_err(), "{sum}");
        assert!(of_threads(std::process::id()).unwrap() > Duration::from_millis(10));
    }
}
