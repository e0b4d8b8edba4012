//! An image as a file.
//!
//! ```text
//!   0  magic 8, byte order 4, format 4, checksum 8 of the header from here on
//!  24  epoch 8, number 8, lineage 8
//!  48  rows a shard and arena bytes a shard, as powers of two, 1 each; 6 of zero
//!  56  nine section lengths, 8 each: tenants, extras, links, hosts, three tables of slots, arena, small
//! 128  a checksum for each shard, 8 each, in the order of the shards
//!      the shards, one after the other
//! ```

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::check::Limits;
use super::{
    Base, Cut, EXTRA, FORMAT, HOST, ImageError, LINK, OLDEST, SLOT, Section, Sections, Small, TENANT, hash,
};
use crate::version::{Position, Version};

const MAGIC: [u8; 8] = *b"ASREGSNP";
/// Reads as another number on a machine of the other byte order.
const BYTE_ORDER: u32 = 0x0102_0304;
/// The header's checksum covers everything of the header after itself, and from format 2 on the format.
const CHECKED_FROM: usize = 24;
/// The large sections; the small one comes last.
const LARGE: usize = 8;
const FIXED: usize = 56 + (LARGE + 1) * 8;
/// More threads than these wait for memory, not for a processor.
const MOST_THREADS: usize = 8;

/// Reads exactly these bytes at this place of a file.
pub(crate) type ReadAt<'a> = &'a (dyn Fn(&mut [u8], u64) -> io::Result<()> + Sync);

/// A file that cannot be read, or is refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk's words.
    #[error("it cannot be read: {0}")]
    Io(io::Error),
    /// What it holds.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Image(ImageError::Truncated),
            _ => Self::Io(error),
        }
    }
}

impl Sections {
    fn from_list(list: [Section; LARGE]) -> Self {
        let [
            tenants,
            extras,
            links,
            hosts,
            tenant_slots,
            link_slots,
            host_slots,
            arena,
        ] = list;
        Self {
            tenants,
            extras,
            links,
            hosts,
            tenant_slots,
            link_slots,
            host_slots,
            arena,
        }
    }
}

impl Cut {
    /// Bytes a shard of each large section.
    fn shards(self) -> [usize; LARGE] {
        let rows = |row: usize| row << self.rows;
        [
            rows(TENANT),
            rows(EXTRA),
            rows(LINK),
            rows(HOST),
            rows(SLOT),
            rows(SLOT),
            rows(SLOT),
            1 << self.arena,
        ]
    }

    /// A name is up to 255 bytes long and lies in one shard.
    fn is_usable(self) -> bool {
        (1..=24).contains(&self.rows) && (8..=28).contains(&self.arena)
    }
}

/// One shard in the file.
struct Piece {
    section: usize,
    /// Number of its first byte in its section.
    from: usize,
    offset: u64,
    length: usize,
    checksum: u64,
}

/// The checked header.
struct Header {
    format: u32,
    position: Position,
    cut: Cut,
    lengths: [usize; LARGE + 1],
    pieces: Vec<Piece>,
}

impl Base {
    /// Writes all of it; how many bytes those are.
    pub(in crate::snapshot) fn write(&self, out: &mut dyn Write) -> io::Result<u64> {
        let small = serde_json::to_vec(&self.small)?;
        let sections = self.sections.list();
        let mut checked = Vec::new();
        checked.extend(self.position.version.epoch.to_le_bytes());
        checked.extend(self.position.version.number.to_le_bytes());
        checked.extend(self.position.lineage.to_le_bytes());
        checked.extend([self.cut.rows, self.cut.arena, 0, 0, 0, 0, 0, 0]);
        let lengths = sections.iter().map(|section| section.length).chain([small.len()]);
        lengths.for_each(|length| checked.extend((length as u64).to_le_bytes()));
        let large = || sections.iter().flat_map(|section| &section.shards);
        for shard in large() {
            checked.extend(hash(shard).to_le_bytes());
        }
        checked.extend(hash(&small).to_le_bytes());
        out.write_all(&MAGIC)?;
        out.write_all(&BYTE_ORDER.to_le_bytes())?;
        out.write_all(&FORMAT.to_le_bytes())?;
        out.write_all(&checksum(FORMAT, &checked).to_le_bytes())?;
        out.write_all(&checked)?;
        for shard in large() {
            out.write_all(shard)?;
        }
        out.write_all(&small)?;
        Ok((CHECKED_FROM + checked.len() + self.size() + small.len()) as u64)
    }

    /// Reads a file of this length, checks it from its first byte to its last, and every number in it against what it
    /// points into.
    pub(in crate::snapshot) fn read(length: u64, read: ReadAt<'_>) -> Result<Self, ReadError> {
        let header = Header::read(length, read)?;
        let small = read_small(&header, read)?;
        let limits = Limits::new(header.format, header.cut, header.lengths, &small)?;
        let places: Vec<OnceLock<Box<[u8]>>> = header.pieces.iter().map(|_| OnceLock::new()).collect();
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let error = Mutex::new(None);
        let work = || {
            while !failed.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some((piece, place)) = header.pieces.get(number).zip(places.get(number)) else {
                    return;
                };
                match read_piece(piece, &limits, read) {
                    Ok(bytes) => drop(place.set(bytes)),
                    Err(found) => {
                        failed.store(true, Ordering::Relaxed);
                        error
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .get_or_insert(found);
                    }
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(MOST_THREADS));
        std::thread::scope(|scope| {
            // This thread works too; one that cannot be started is not needed.
            for _ in 1..threads.min(header.pieces.len()) {
                let _ = std::thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        if let Some(error) = error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        limits.finish(&small)?;
        let mut shards: [Vec<Box<[u8]>>; LARGE] = Default::default();
        for (piece, place) in header.pieces.iter().zip(places) {
            let bytes = place.into_inner().ok_or(ImageError::Malformed)?;
            if let Some(section) = shards.get_mut(piece.section) {
                section.push(bytes);
            }
        }
        let mut lengths = header.lengths.into_iter();
        let sections = shards.map(|shards| Section {
            shards: shards.into_boxed_slice(),
            length: lengths.next().unwrap_or_default(),
        });
        Ok(Self::new(
            header.position,
            header.cut,
            Sections::from_list(sections),
            small,
        ))
    }
}

impl Header {
    fn read(length: u64, read: ReadAt<'_>) -> Result<Self, ReadError> {
        let mut fixed = [0; FIXED];
        let there = usize::try_from(length).unwrap_or(usize::MAX).min(FIXED);
        let (begun, _) = fixed.split_at_mut(there);
        read(begun, 0)?;
        let mut fields = Fields(begun);
        // What is no file of ours is not called a short one of ours.
        let magic = fields.0.get(..8.min(there)).unwrap_or_default();
        if !MAGIC.starts_with(magic) {
            return Err(ImageError::Malformed.into());
        }
        fields.take::<8>()?;
        match u32::from_le_bytes(fields.take()?) {
            BYTE_ORDER => {}
            order if order.swap_bytes() == BYTE_ORDER => return Err(ImageError::ForeignByteOrder.into()),
            _ => return Err(ImageError::Corrupt.into()),
        }
        let format = u32::from_le_bytes(fields.take()?);
        if format > FORMAT {
            return Err(ImageError::FutureFormat(format).into());
        }
        if format < OLDEST {
            return Err(ImageError::Corrupt.into());
        }
        let expected = u64::from_le_bytes(fields.take()?);
        let version = Version {
            epoch: fields.number()?,
            number: fields.number()?,
        };
        let position = Position {
            version,
            lineage: i64::from_le_bytes(fields.take()?),
        };
        let [rows, arena, ..]: [u8; 8] = fields.take()?;
        let cut = Cut { rows, arena };
        let mut lengths = [0; LARGE + 1];
        let mut total = FIXED as u64;
        for length in &mut lengths {
            let number = fields.number()?;
            total = total.checked_add(number).ok_or(ImageError::Corrupt)?;
            *length = usize::try_from(number).map_err(|_| ImageError::Corrupt)?;
        }
        // Until the checksum is known to be right, nothing larger than the file is believed.
        if !cut.is_usable() {
            return Err(ImageError::Corrupt.into());
        }
        if total > length {
            return Err(ImageError::Truncated.into());
        }
        let mut pieces = pieces(cut, &lengths);
        let table = pieces.len() * 8;
        total = total.checked_add(table as u64).ok_or(ImageError::Corrupt)?;
        if total > length {
            return Err(ImageError::Truncated.into());
        }
        let mut checksums = vec![0; table];
        read(&mut checksums, FIXED as u64)?;
        let mut checked = fixed.get(CHECKED_FROM..).unwrap_or_default().to_vec();
        checked.extend_from_slice(&checksums);
        if checksum(format, &checked) != expected || total != length {
            return Err(ImageError::Corrupt.into());
        }
        if version.epoch == 0 {
            return Err(ImageError::NoVersion.into());
        }
        let mut offset = (FIXED + table) as u64;
        for (piece, checksum) in pieces.iter_mut().zip(checksums.as_chunks::<8>().0) {
            piece.offset = offset;
            piece.checksum = u64::from_le_bytes(*checksum);
            offset += piece.length as u64;
        }
        Ok(Self {
            format,
            position,
            cut,
            lengths,
            pieces,
        })
    }
}

fn checksum(format: u32, checked: &[u8]) -> u64 {
    if format == OLDEST {
        return hash(checked);
    }
    hash(&[format.to_le_bytes().as_slice(), checked].concat())
}

/// The shards of sections of these lengths; the small section is one shard, and the last.
fn pieces(cut: Cut, lengths: &[usize; LARGE + 1]) -> Vec<Piece> {
    let shards = cut.shards().into_iter().chain([usize::MAX]);
    let mut pieces = Vec::new();
    for (section, (length, shard)) in lengths.iter().zip(shards).enumerate() {
        let mut from = 0;
        while from < *length || (section == LARGE && from == 0) {
            let taken = (length - from).min(shard);
            pieces.push(Piece {
                section,
                from,
                offset: 0,
                length: taken,
                checksum: 0,
            });
            from += taken.max(1);
        }
    }
    pieces
}

fn read_small(header: &Header, read: ReadAt<'_>) -> Result<Small, ReadError> {
    let piece = header.pieces.last().ok_or(ImageError::Malformed)?;
    let bytes = read_checked(piece, read)?;
    // Its checksum was right: another program wrote it.
    Ok(serde_json::from_slice(&bytes).map_err(|_| ImageError::OutOfBounds)?)
}

fn read_checked(piece: &Piece, read: ReadAt<'_>) -> Result<Box<[u8]>, ReadError> {
    let mut bytes = vec![0; piece.length].into_boxed_slice();
    read(&mut bytes, piece.offset)?;
    if hash(&bytes) != piece.checksum {
        return Err(ImageError::Corrupt.into());
    }
    Ok(bytes)
}

/// Checked while it is still in the processor's cache.
fn read_piece(piece: &Piece, limits: &Limits, read: ReadAt<'_>) -> Result<Box<[u8]>, ReadError> {
    if piece.section == LARGE {
        // Read before all others.
        return Ok(Box::default());
    }
    let bytes = read_checked(piece, read)?;
    limits.check(piece.section, piece.from, &bytes)?;
    Ok(bytes)
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(ImageError::Truncated)?;
        self.0 = rest;
        Ok(*field)
    }

    fn number(&mut self) -> Result<u64, ImageError> {
        Ok(u64::from_le_bytes(self.take()?))
    }
}
