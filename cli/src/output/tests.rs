use super::*;

#[derive(Serialize)]
struct Line {
    id: &'static str,
    state: &'static str,
    note: Option<&'static str>,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["id", "state", "note"];
    fn fields(&self) -> Vec<Field> {
        vec![
            Field::new(self.id),
            Field::toned(self.state, Tone::Good),
            Field::optional(self.note),
        ]
    }
}

const LINES: [Line; 2] = [
    Line {
        id: "cell-a",
        state: "active",
        note: None,
    },
    Line {
        id: "b-longer",
        state: "ok",
        note: Some("é"),
    },
];

/// What a command wrote to stdout and stderr.
fn written(write: impl FnOnce(Output<'_>)) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    write(Output::new(&mut out, &mut err));
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn a_table_is_aligned_and_has_no_trailing_blanks() {
    let (out, _) = written(|mut output| output.list(&LINES, "none").unwrap());
    assert_eq!(
        out,
        "ID        STATE   NOTE\ncell-a    active  -\nb-longer  ok      é\n"
    );
}

#[test]
fn colours_do_not_move_columns() {
    let (out, _) = written(|output| output.colours(true, true).list(&LINES, "none").unwrap());
    assert!(out.contains("\x1b[32mactive\x1b[0m  "), "{out:?}");
    assert!(out.contains("\x1b[32mok\x1b[0m      é"), "{out:?}");
}

#[test]
fn an_empty_listing_says_so_on_stderr_only() {
    let (out, err) = written(|mut output| output.list::<Line>(&[], "no cells").unwrap());
    assert_eq!((out.as_str(), err.as_str()), ("", "no cells\n"));
    let (out, err) = written(|output| output.json(true).list::<Line>(&[], "no cells").unwrap());
    assert_eq!((out.as_str(), err.as_str()), ("[]\n", ""));
}

#[test]
fn json_is_the_record() {
    let (out, _) = written(|output| output.json(true).list(&LINES, "none").unwrap());
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        value,
        serde_json::json!([
            { "id": "cell-a", "state": "active", "note": null },
            { "id": "b-longer", "state": "ok", "note": "é" },
        ])
    );
}

#[test]
fn escape_sequences_from_records_do_not_reach_the_terminal() {
    let (out, _) = written(|mut output| {
        output
            .record(&(), &[("name", Field::new("a\x1b[2Jb\nc"))])
            .unwrap();
    });
    assert_eq!(out, "name  a\u{fffd}[2Jb\u{fffd}c\n");
}

#[test]
fn a_failure_says_what_to_do_next() {
    let failure = Failure::configuration("A is wrong\nB is wrong").next("set them");
    let (out, err) = written(|mut output| output.failure(&failure));
    assert_eq!(
        (out.as_str(), err.as_str()),
        ("", "error: A is wrong\n       B is wrong\nnext:  set them\n")
    );
    let (_, err) = written(|output| output.json(true).failure(&failure));
    let value: serde_json::Value = serde_json::from_str(&err).unwrap();
    assert_eq!(value["error"]["next"], "set them");
}

/// A pipe whose reader went away.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let mut err = Vec::new();
    let failure = Output::new(&mut Closed, &mut err)
        .list(&LINES, "none")
        .unwrap_err();
    assert_eq!(failure.exit_code(), 0);
    Output::new(&mut Closed, &mut err).failure(&failure);
    assert!(err.is_empty());
}
