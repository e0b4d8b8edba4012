//! The mark: the newest position that was ever published, and how long ago the registry was heard from. It is what a
//! start judges snapshot and registry by, so it is written every few seconds, and apart from the snapshot.
//!
//! The age goes on counting while nobody runs, and no clock that is set back makes it smaller: within one boot of the
//! machine by the time since that boot, and else by the system clock, which must then be later than it was.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Reason;
use crate::snapshot::checksum;
use crate::version::{Position, Version};

const MAGIC: [u8; 8] = *b"ASREGMRK";
const BYTE_ORDER: u32 = 0x0102_0304;
const FORMAT: u32 = 1;
const CHECKED_FROM: usize = 24;
pub(super) const LENGTH: usize = CHECKED_FROM + 24 + 3 * 8 + 16;
/// The registry was never heard from.
const NEVER: u64 = u64::MAX;

/// What the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) floor: Position,
    /// How long ago the registry had been heard from when this was written; `None`: never.
    pub(super) age: Option<Duration>,
    pub(super) written: Moment,
}

/// A moment by the clocks that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Milliseconds since 1970.
    pub(super) wall_ms: i64,
    /// Milliseconds since the machine booted, asleep or not.
    pub(super) uptime_ms: u64,
    /// Which boot that was; zeros where it is not known.
    pub(super) boot: [u8; 16],
}

impl Moment {
    pub(super) fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let uptime = uptime.split(' ').next().and_then(|text| text.parse::<f64>().ok());
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = uptime.and_then(|_| u128::from_str_radix(&boot.trim().replace('-', ""), 16).ok());
        Self {
            wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
            uptime_ms: uptime
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .map_or(0, millis),
            boot: boot.unwrap_or_default().to_le_bytes(),
        }
    }

    /// How long ago it was; `None` if the clocks do not tell.
    fn elapsed(&self, now: &Self) -> Option<Duration> {
        let wall = now
            .wall_ms
            .checked_sub(self.wall_ms)
            .and_then(|ms| u64::try_from(ms).ok());
        let same_boot = self.boot == now.boot && self.boot != [0; 16];
        let uptime = now.uptime_ms.checked_sub(self.uptime_ms).filter(|_| same_boot);
        // The longer of both: a clock that was set back in between hides some of it, never adds any.
        wall.max(uptime).map(Duration::from_millis)
    }
}

impl Mark {
    /// How long ago the registry was heard from.
    pub(super) fn age(&self, now: &Moment) -> Option<Duration> {
        self.age?.checked_add(self.written.elapsed(now)?)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut checked = Vec::with_capacity(LENGTH);
        checked.extend(encode_position(self.floor));
        checked.extend(self.age.map_or(NEVER, millis).to_le_bytes());
        checked.extend(self.written.wall_ms.to_le_bytes());
        checked.extend(self.written.uptime_ms.to_le_bytes());
        checked.extend(self.written.boot);
        let mut bytes = head(MAGIC, BYTE_ORDER, FORMAT);
        bytes.extend(checksum(&checked).to_le_bytes());
        bytes.append(&mut checked);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Reason> {
        let rest = check_head(bytes, MAGIC, BYTE_ORDER, FORMAT)?;
        if bytes.len() != LENGTH {
            return Err(if bytes.len() < LENGTH {
                Reason::Truncated
            } else {
                Reason::Checksum
            });
        }
        let (sum, checked) = rest.split_first_chunk().ok_or(Reason::Truncated)?;
        if checksum(checked) != u64::from_le_bytes(*sum) {
            return Err(Reason::Checksum);
        }
        let (floor, rest) = decode_position(checked).ok_or(Reason::Truncated)?;
        let (age, rest) = rest.split_first_chunk().ok_or(Reason::Truncated)?;
        let (wall, rest) = rest.split_first_chunk().ok_or(Reason::Truncated)?;
        let (uptime, rest) = rest.split_first_chunk().ok_or(Reason::Truncated)?;
        let (boot, _) = rest.split_first_chunk().ok_or(Reason::Truncated)?;
        let age = u64::from_le_bytes(*age);
        Ok(Self {
            floor,
            age: (age != NEVER).then(|| Duration::from_millis(age)),
            written: Moment {
                wall_ms: i64::from_le_bytes(*wall),
                uptime_ms: u64::from_le_bytes(*uptime),
                boot: *boot,
            },
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER - 1)
}

/// How all of our files begin, before their checksum.
pub(super) fn head(magic: [u8; 8], order: u32, format: u32) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend(order.to_le_bytes());
    bytes.extend(format.to_le_bytes());
    bytes
}

/// Checks how a file begins; what follows, from the checksum on.
pub(super) fn check_head(bytes: &[u8], magic: [u8; 8], order: u32, format: u32) -> Result<&[u8], Reason> {
    if !magic.starts_with(bytes.get(..bytes.len().min(8)).unwrap_or_default()) {
        return Err(Reason::NotOurs);
    }
    let rest = bytes.get(8..).ok_or(Reason::Truncated)?;
    let (found, rest) = rest.split_first_chunk().ok_or(Reason::Truncated)?;
    match u32::from_le_bytes(*found) {
        found if found == order => {}
        found if found.swap_bytes() == order => return Err(Reason::ForeignByteOrder),
        _ => return Err(Reason::Checksum),
    }
    let (found, rest) = rest.split_first_chunk().ok_or(Reason::Truncated)?;
    match u32::from_le_bytes(*found) {
        found if found == format => Ok(rest),
        newer if newer > format => Err(Reason::FutureFormat(newer)),
        _ => Err(Reason::Checksum),
    }
}

pub(super) fn encode_position(position: Position) -> Vec<u8> {
    let mut bytes = position.version.epoch.to_le_bytes().to_vec();
    bytes.extend(position.version.number.to_le_bytes());
    bytes.extend(position.lineage.to_le_bytes());
    bytes
}

pub(super) fn decode_position(bytes: &[u8]) -> Option<(Position, &[u8])> {
    let (epoch, rest) = bytes.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (lineage, rest) = rest.split_first_chunk()?;
    let position = Position {
        version: Version {
            epoch: u64::from_le_bytes(*epoch),
            number: u64::from_le_bytes(*number),
        },
        lineage: i64::from_le_bytes(*lineage),
    };
    Some((position, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(wall_s: i64, uptime_s: u64, boot: u8) -> Moment {
        Moment {
            wall_ms: wall_s * 1000,
            uptime_ms: uptime_s * 1000,
            boot: [boot; 16],
        }
    }

    #[test]
    fn no_clock_that_goes_back_makes_the_age_smaller() {
        let mark = Mark {
            floor: Position::default(),
            age: Some(Duration::from_secs(10)),
            written: moment(1_000, 500, 1),
        };
        let age = |wall, uptime, boot| mark.age(&moment(wall, uptime, boot)).map(|age| age.as_secs());
        assert_eq!(age(1_060, 560, 1), Some(70));
        assert_eq!(age(1_060, 30, 2), Some(70), "after a reboot by the system clock");
        assert_eq!(age(400, 560, 1), Some(70), "set back: the boot's clock tells");
        assert_eq!(
            age(1_001, 560, 1),
            Some(70),
            "set back a little: the longer counts"
        );
        assert_eq!(
            age(9_000, 560, 1),
            Some(8_010),
            "set forward: older, never younger"
        );
        assert_eq!(age(999, 30, 2), None, "set back over a reboot: nobody knows");
        assert_eq!(age(999, 560, 0), None);
        let never = Mark { age: None, ..mark };
        assert_eq!(never.age(&moment(1_060, 560, 1)), None);
    }

    #[test]
    fn a_mark_reads_back_and_no_damage_passes() {
        let mark = Mark {
            floor: Position {
                version: Version { epoch: 3, number: 9 },
                lineage: -7,
            },
            age: Some(Duration::from_millis(1234)),
            written: Moment::now(),
        };
        let bytes = mark.encode();
        assert_eq!(bytes.len(), LENGTH);
        assert_eq!(Mark::decode(&bytes), Ok(mark));
        for place in 0..bytes.len() {
            assert_eq!(Mark::decode(&bytes[..place]), Err(Reason::Truncated), "{place}");
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                assert!(Mark::decode(&damaged).is_err(), "{place}");
            }
        }
        let changed = |place: usize, with: [u8; 4]| {
            let mut changed = bytes.clone();
            changed[place..place + 4].copy_from_slice(&with);
            Mark::decode(&changed)
        };
        assert_eq!(changed(8, [1, 2, 3, 4]), Err(Reason::ForeignByteOrder));
        assert_eq!(changed(12, [2, 0, 0, 0]), Err(Reason::FutureFormat(2)));
        assert_eq!(changed(0, *b"ELF!"), Err(Reason::NotOurs));
    }
}
