//! Log lines leave through a thread of their own, so that no check ever waits for whoever reads the log: a full pipe or
//! a slow disk would stop every worker thread, and with them the edge. Lines that find the queue full are dropped and
//! counted; the log says how many, once it flows again.
//!
//! A line alone is written at once. Where many come they are written together, each few milliseconds: waking the
//! thread for each line cost a router that denies 4,000 checks a second a sixth of its time.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait. A line is a few hundred bytes, at most a few KiB.
const QUEUE: usize = 8192;

/// How long lines gather after others were written. While the thread sleeps, a new line wakes nobody.
const GATHER: Duration = Duration::from_millis(5);
/// Bytes after which they are written anyway.
const BATCH: usize = 64 * 1024;

enum Item {
    Line(Vec<u8>),
    /// Everything before this has been written when the sender hears of it.
    Flush(SyncSender<()>),
}

/// The end that takes lines and never waits. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Lines {
    queue: SyncSender<Item>,
    dropped: Counter,
}

/// One line in the making; queued when dropped.
pub(super) struct Line<'a> {
    lines: &'a Lines,
    text: Vec<u8>,
}

impl Lines {
    /// Starts the thread that writes to `sink`. `dropped` counts the lines that found no place.
    pub(super) fn start(sink: impl Write + Send + 'static, dropped: Counter) -> io::Result<Self> {
        let (queue, items) = sync_channel(QUEUE);
        let seen = dropped.clone();
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(sink, &items, &seen))?;
        Ok(Self { queue, dropped })
    }

    /// Waits until what was logged so far is written, at most `deadline`.
    pub(super) fn flush(&self, deadline: Duration) {
        let (written, wait) = sync_channel(1);
        // A full queue means a reader that does not read: there is nothing to wait for.
        if self.queue.try_send(Item::Flush(written)).is_ok() {
            let _ = wait.recv_timeout(deadline);
        }
    }
}

fn write_all(mut sink: impl Write, items: &Receiver<Item>, dropped: &Counter) {
    let mut told = 0;
    let mut batch = Vec::new();
    while let Ok(first) = items.recv() {
        for item in std::iter::once(first).chain(items.try_iter()) {
            match item {
                Item::Line(text) => batch.extend_from_slice(&text),
                Item::Flush(written) => {
                    write(&mut sink, &mut batch);
                    let _ = sink.flush();
                    let _ = written.send(());
                }
            }
            if batch.len() >= BATCH {
                write(&mut sink, &mut batch);
            }
        }
        let lost = dropped.get();
        if lost > told {
            // Writing to a vector does not fail.
            let _ = writeln!(
                batch,
                r#"{{"level":"WARN","target":"router::telemetry","message":"log lines dropped: the reader is too slow","lines":{}}}"#,
                lost - told
            );
            told = lost;
        }
        write(&mut sink, &mut batch);
        std::thread::sleep(GATHER);
    }
}

/// A sink that fails (a closed pipe) is tried again with the next lines: nobody could be told anyway.
fn write(sink: &mut impl Write, batch: &mut Vec<u8>) {
    if !batch.is_empty() {
        let _ = sink.write_all(batch);
        batch.clear();
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            lines: self,
            text: Vec::new(),
        }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let text = std::mem::take(&mut self.text);
        if text.is_empty() {
            return;
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.lines.queue.try_send(Item::Line(text))
        {
            self.lines.dropped.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, MutexGuard};

    use super::*;

    /// A reader that can be made to wait.
    #[derive(Clone, Default)]
    struct Reader(Arc<Mutex<Vec<u8>>>);

    impl Reader {
        fn stopped(&self) -> MutexGuard<'_, Vec<u8>> {
            self.0.lock().unwrap()
        }

        fn text(&self) -> String {
            String::from_utf8(self.stopped().clone()).unwrap()
        }
    }

    impl Write for Reader {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.stopped().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(lines: &Lines, number: usize) {
        let mut line = lines.make_writer();
        // In pieces, as a formatter may write.
        write!(line, "line ").unwrap();
        writeln!(line, "{number}").unwrap();
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn lines_come_whole_and_in_order() {
        let reader = Reader::default();
        let lines = Lines::start(reader.clone(), Counter::default()).unwrap();
        for number in 0..100 {
            log(&lines, number);
        }
        lines.flush(LONG);
        let expected: String = (0..100).map(|number| format!("line {number}\n")).collect();
        assert_eq!(reader.text(), expected);
    }

    #[test]
    fn a_reader_that_does_not_read_stops_nobody() {
        let (reader, dropped) = (Reader::default(), Counter::default());
        let lines = Lines::start(reader.clone(), dropped.clone()).unwrap();
        let stopped = reader.stopped();
        for number in 0..20 * QUEUE {
            log(&lines, number); // would never return if it waited
        }
        lines.flush(LONG); // nor would this, for long: the queue is full
        let lost = dropped.get();
        // The queue holds some, and the writer one batch.
        assert!(lost >= u64::try_from(18 * QUEUE).unwrap(), "{lost}");
        drop(stopped);
        // The queue empties; then lines come through again, and how many are missing.
        let until = std::time::Instant::now() + LONG;
        while !reader.text().contains(&format!(r#""lines":{lost}}}"#)) {
            assert!(std::time::Instant::now() < until, "the loss is not told");
            std::thread::yield_now();
        }
        log(&lines, 7_777_777);
        lines.flush(LONG);
        assert!(reader.text().ends_with("line 7777777\n"));
        assert_eq!(dropped.get(), lost);
    }
}
