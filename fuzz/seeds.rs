//! Writes a target's seeds, one file each, into a directory.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(target), Some(directory)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: seeds TARGET DIRECTORY");
        std::process::exit(64);
    };
    std::fs::create_dir_all(&directory)?;
    for (number, seed) in fuzz_targets::seeds::of(&target).iter().enumerate() {
        std::fs::write(Path::new(&directory).join(format!("seed-{number:05}")), seed)?;
    }
    Ok(())
}
