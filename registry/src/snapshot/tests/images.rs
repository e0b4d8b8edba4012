//! An image as a file: written, read back, and refused when anything is wrong with it.

use super::*;

proptest! {
    #[test]
    fn what_is_written_is_read_and_looks_the_same(records in changes(), rows in 1..6u8, arena in 8..10u8) {
        let truth: BTreeMap<_, _> = records.iter().map(|record| (record.key(), record.clone())).collect();
        let snapshot = built(records, rows, arena);
        let read = read_image(&image(&snapshot)).unwrap();
        prop_assert_eq!(read.position(), at(1));
        prop_assert_eq!(read.counts(), snapshot.counts());
        prop_assert_eq!(read.set_aside(), snapshot.set_aside());
        check(&read, &truth)?;
        check(&read.compacted().unwrap(), &truth)?;
        prop_assert_eq!(image(&read), image(&snapshot));
    }

    #[test]
    fn a_damaged_image_is_refused(records in changes(), place: Index, bit in 0..8u8, rows in 1..6u8) {
        let image = image(&built(records, rows, 8));
        let mut damaged = image.clone();
        damaged[place.index(image.len())] ^= 1 << bit;
        prop_assert!(read_image(&damaged).is_err());
        let mut longer = image.clone();
        longer.push(0);
        prop_assert_eq!(read_image(&longer).err(), Some(ImageError::Corrupt));
    }

    /// What a checksum cannot catch: whoever wrote the file wrote its checksums as well.
    #[test]
    fn an_image_with_wrong_offsets_is_refused_or_answers_without_a_panic(
        records in changes(),
        damage in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..20),
    ) {
        let mut image = image(&built(records.clone(), 3, 8));
        let length = image.len();
        for (place, byte) in damage {
            image[place.index(length - 24) + 24] = byte;
        }
        resign(&mut image);
        if let Ok(snapshot) = read_image(&image) {
            for record in &records {
                match record {
                    Record::Link(link) => {
                        let _ = snapshot.link(link.provider.as_str(), link.kind, &link.external_id);
                    }
                    Record::Tenant(tenant) => {
                        let _ = snapshot.tenant(tenant.id.as_str());
                    }
                    Record::Host(host) => {
                        let _ = snapshot.host(&host.host);
                    }
                    _ => {}
                }
            }
            let gone: Vec<_> = records.iter().map(|record| RecordChange::Remove(record.key())).collect();
            let _ = snapshot.with(at(9), &gone).compacted();
        }
    }
}

fn built(records: Vec<Record>, rows: u8, arena: u8) -> Snapshot {
    let mut builder = Builder::in_shards(rows, arena);
    for record in records {
        builder.put(record).unwrap();
    }
    builder.finish(at(1)).unwrap()
}

fn image(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = snapshot.write_base(&mut bytes).unwrap();
    assert_eq!(length, bytes.len() as u64);
    bytes
}

fn read_image(image: &[u8]) -> Result<Snapshot, ImageError> {
    let read = |into: &mut [u8], offset: u64| {
        let from = image.get(offset as usize..offset as usize + into.len());
        into.copy_from_slice(from.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    };
    Snapshot::read_base(image.len() as u64, &read).map_err(|error| match error {
        ReadError::Image(error) => error,
        ReadError::Io(error) => panic!("{error}"),
    })
}

/// Makes all checksums right again, as far as the lengths in the header lead.
fn resign(image: &mut [u8]) {
    let number = |image: &[u8], at: usize| {
        let bytes = image.get(at..at + 8).and_then(<[u8]>::first_chunk);
        usize::try_from(u64::from_le_bytes(*bytes.unwrap_or(&[0; 8]))).unwrap_or(usize::MAX)
    };
    let (rows, arena) = (u32::from(image[48]), u32::from(image[49]));
    if rows > 24 || arena > 28 {
        return;
    }
    let shards = [16usize, 32, 12, 12, 5, 5, 5].map(|row| row << rows);
    let shards = shards.into_iter().chain([1 << arena, usize::MAX]);
    let mut lengths = Vec::new();
    for (section, shard) in shards.enumerate() {
        let mut left = number(image, 56 + section * 8);
        if left > image.len() {
            return;
        }
        while left > 0 {
            lengths.push(left.min(shard));
            left -= left.min(shard);
        }
    }
    let table = 128;
    let mut offset = table + lengths.len() * 8;
    for (number, length) in lengths.iter().enumerate() {
        let Some(shard) = image.get(offset..offset + length) else {
            return;
        };
        let sum = hash::hash(shard).to_le_bytes();
        image[table + number * 8..table + number * 8 + 8].copy_from_slice(&sum);
        offset += length;
    }
    let end = table + lengths.len() * 8;
    let sum = if image[12] == 1 {
        hash::hash(&image[24..end])
    } else {
        hash::hash(&[&image[12..16], &image[24..end]].concat())
    };
    image[16..24].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn an_image_cut_off_anywhere_or_with_any_byte_changed_is_refused() {
    let records = vec![
        cell(1, CellState::Active),
        Record::Tenant(Tenant {
            id: tenant_name(1).parse().unwrap(),
            state: TenantState::Active,
            name: "x".into(),
            requests_per_second: None,
            tier: None,
            region: None,
            apart: None,
            drain: Drain::Refuse,
        }),
    ];
    let image = image(&built(records, 1, 8));
    for length in 0..image.len() {
        assert_eq!(
            read_image(&image[..length]).err(),
            Some(ImageError::Truncated),
            "{length} of {}",
            image.len()
        );
        for byte in 0..=255u8 {
            let mut damaged = image.clone();
            damaged[length] = byte;
            assert_eq!(
                read_image(&damaged).is_ok(),
                byte == image[length],
                "{length}: {byte}"
            );
        }
    }
}

/// One number at a time, with good checksums: named for what it is.
#[test]
fn numbers_that_point_outside_are_refused() {
    let records = vec![
        cell(1, CellState::Active),
        Record::Tenant(Tenant {
            id: tenant_name(1).parse().unwrap(),
            state: TenantState::Active,
            name: "x".into(),
            requests_per_second: None,
            tier: None,
            region: None,
            apart: None,
            drain: Drain::Refuse,
        }),
        Record::Host(Host {
            host: "h.example".into(),
            tenant: tenant_name(1).parse().unwrap(),
        }),
    ];
    let good = image(&built(records, 1, 8));
    let number = |at: usize| u64::from_le_bytes(good[at..at + 8].try_into().unwrap()) as usize;
    let lengths: Vec<_> = (0..9).map(|section| number(56 + section * 8)).collect();
    assert_eq!(lengths[..7], [16, 0, 0, 12, 10, 0, 10]);
    // Tenants, hosts, one shard of slots each (two slots a shard), arena, small.
    let first = 128 + 6 * 8;
    let refused = |at: usize, byte: u8| {
        let mut image = good.clone();
        assert_ne!(image[at], byte);
        image[at] = byte;
        resign(&mut image);
        read_image(&image).err()
    };
    let outside = Some(ImageError::OutOfBounds);
    assert_eq!(refused(first, 200), outside, "a name's offset");
    assert_eq!(refused(first + 4, 255), outside, "a name's length");
    assert_eq!(refused(first + 5, 7 << 2), outside, "a phase");
    assert_eq!(refused(first + 5, 2 | 64), outside, "a drain without a move");
    assert_eq!(refused(first + 5, 2 | 128), outside, "a bit that says nothing");
    assert_eq!(refused(first + 5, 0), outside, "the count of tenants");
    assert_eq!(refused(first + 16 + 8, 9), outside, "a host's tenant");
    assert_eq!(
        (0..2).find_map(|slot| refused(first + 28 + slot * 5 + 1, 77)),
        outside,
        "a slot's number"
    );
    assert_eq!(refused(24, 0), Some(ImageError::NoVersion));
}

#[test]
fn an_image_of_another_kind_is_named() {
    let image = image(&built(Vec::new(), 18, 22));
    let open = |image: &[u8]| read_image(image).err();
    assert_eq!(open(&image), None);
    assert_eq!(open(b""), Some(ImageError::Truncated));
    assert_eq!(
        open(b"SQLite format 3\0 and more bytes than a header has"),
        Some(ImageError::Malformed)
    );
    let mut foreign = image.clone();
    foreign[8..12].reverse();
    assert_eq!(open(&foreign), Some(ImageError::ForeignByteOrder));
    let mut future = image.clone();
    future[12] = 3;
    assert_eq!(open(&future), Some(ImageError::FutureFormat(3)));
    let mut corrupt = image;
    corrupt[40] ^= 1;
    assert_eq!(open(&corrupt), Some(ImageError::Corrupt));
}

/// As a control plane of the release before hands it on, or as that release left it on disk.
#[test]
fn an_image_of_the_format_before_is_read_and_its_drains_refuse_everything() {
    let draining = |drain| {
        Record::Placement(Placement {
            tenant: tenant_name(1).parse().unwrap(),
            cell: cell_name(1).parse().unwrap(),
            epoch: 4,
            phase: Phase::Draining,
            target: Some(cell_name(2).parse().unwrap()),
            previous: None,
            flipped_at: None,
            mover: Mover::Operator,
            drain,
        })
    };
    let before = |drain| {
        let records = vec![
            cell(1, CellState::Active),
            cell(2, CellState::Active),
            draining(drain),
        ];
        let now = image(&built(records, 3, 8));
        let mut before = now.clone();
        before[12] = 1;
        assert_eq!(
            read_image(&before).err(),
            Some(ImageError::Corrupt),
            "a format that was changed is no older format"
        );
        resign(&mut before);
        (read_image(&now).unwrap(), read_image(&before))
    };
    let (now, read) = before(Drain::Refuse);
    let read = read.unwrap();
    assert_eq!(read.counts(), now.counts());
    let records = |snapshot: &Snapshot| snapshot.entry(&tenant_name(1)).placement.unwrap();
    assert_eq!(records(&read), records(&now));
    assert_eq!(
        Record::Placement((*records(&read)).clone()),
        draining(Drain::Refuse)
    );
    assert_eq!(
        image(&read),
        image(&now),
        "written anew, it is of the present format"
    );
    // No program of that release wrote this one.
    let (now, read) = before(Drain::ReadOnly);
    assert_eq!(records(&now).drain, Drain::ReadOnly);
    assert_eq!(read.err(), Some(ImageError::OutOfBounds));
}
