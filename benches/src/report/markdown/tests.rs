use super::*;
use crate::report::Target;

fn report() -> Report {
    let mut report = Report {
        commit: "0123abc".to_owned(),
        date: "2026-01-02T03:04:05Z".to_owned(),
        figures: Vec::new(),
    };
    report.merge(vec![
        Figure::new("check.envoy_cpu_us.none", 50.5, "us", "here; a | b"),
        Figure::new("check.server_ratio", 1.05, "ratio", "router / no-op").target(Target::AtMost(1.15)),
        Figure::new("identity.mint", 2.0, "us", "criterion"),
        Figure::new("registry.bytes_per_tenant", 120.0, "bytes", "size").target(Target::AtMost(100.0)),
    ]);
    report
}

#[test]
fn the_page_has_a_row_for_each_figure_and_one_for_each_target() {
    let text = page(&report(), &Around::default());
    for row in [
        "- commit: `0123abc`",
        "- date: 2026-01-02T03:04:05Z",
        "- machine: not recorded",
        "1 of 2 missed.",
        "| `registry.bytes_per_tenant` | 120 bytes | <= 100 | **MISSED** |",
        "| `check.server_ratio` | 1.05 | <= 1.15 | met |",
        "| `check.envoy_cpu_us.none` | 50.5 µs | here; a \\| b |",
        "| `identity.mint` | 2 µs | criterion |",
    ] {
        assert!(text.lines().any(|line| line == row), "no {row} in\n{text}");
    }
    let at = |part: &str| text.find(part).unwrap();
    assert!(at("MISSED") < at("| met |"), "missed ones come first");
    assert!(at("### check") < at("### identity") && at("### identity") < at("### registry"));
    assert_eq!(text.matches("### ").count(), 3);
    assert!(!text.contains("Peers") && !text.contains("!["), "{text}");
}

#[test]
fn peers_that_are_missing_are_named() {
    let around = Around {
        missing: vec![Missing {
            peer: "some-peer".to_owned(),
            reason: "not built".to_owned(),
        }],
        ..Around::default()
    };
    let text = page(&Report::default(), &around);
    assert!(text.contains("- some-peer: not built\n"), "{text}");
    assert!(
        !text.contains("## Targets") && !text.contains("## All figures"),
        "{text}"
    );
}

#[test]
fn plots_lie_beside_the_page_and_those_of_an_earlier_report_do_not() {
    let folder = tempfile::tempdir().unwrap();
    for file in plots::FILES {
        std::fs::write(folder.path().join(file), "old").unwrap();
    }
    let path = write(&report(), folder.path()).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let there: Vec<_> = plots::FILES
        .into_iter()
        .filter(|file| folder.path().join(file).exists())
        .collect();
    assert_eq!(there, ["cpu.svg"]);
    assert!(text.contains("](cpu.svg)"), "{text}");
    let svg = std::fs::read_to_string(folder.path().join("cpu.svg")).unwrap();
    assert!(svg.contains("none"), "{svg}");
}
