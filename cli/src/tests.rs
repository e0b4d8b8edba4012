use clap::CommandFactory as _;

use super::*;

fn run_line(line: &[&str], variables: &[(&str, &str)], terminals: Terminals) -> (u8, String, String) {
    let ran = testing::run(line, variables, terminals);
    (ran.code, ran.out, ran.err)
}

#[test]
fn the_grammar_is_sound() {
    Cli::command().debug_assert();
}

/// Every command that does something has help with an example, so that nobody must guess.
#[test]
fn every_command_shows_an_example() {
    fn visit(command: &clap::Command, path: &str, seen: &mut usize) {
        let path = format!("{path} {}", command.get_name());
        if command.get_name() == "help" {
            return;
        }
        assert!(command.get_about().is_some(), "{path} has no description");
        let examples = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(examples.contains("alphaswarm "), "{path} has no example");
        *seen += 1;
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some(),
                "{path}: {} has no help",
                argument.get_id()
            );
        }
        command.get_subcommands().for_each(|sub| visit(sub, &path, seen));
    }
    let mut seen = 0;
    visit(&Cli::command(), "", &mut seen);
    assert!(seen > 30, "{seen}");
}

/// The examples in the help are commands that exist.
#[test]
fn every_example_parses() {
    fn visit(command: &clap::Command, lines: &mut Vec<String>) {
        lines.extend(
            command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default()
                .lines()
                .map(str::to_owned),
        );
        command.get_subcommands().for_each(|sub| visit(sub, lines));
    }
    let mut lines = Vec::new();
    visit(&Cli::command(), &mut lines);
    let examples = lines.iter().filter_map(|line| line.strip_prefix("  alphaswarm "));
    let mut parsed = 0;
    for example in examples {
        let command = example
            .split("   ")
            .next()
            .unwrap()
            .split(['<', '>', '|'])
            .next()
            .unwrap()
            .trim();
        if command.ends_with("-- --help") {
            continue;
        }
        let words = testing::words(command);
        let line = std::iter::once("alphaswarm").chain(words.iter().map(String::as_str));
        if let Err(error) = Cli::try_parse_from(line) {
            panic!("{command}: {error}");
        }
        parsed += 1;
    }
    assert!(parsed > 40, "{parsed}");
}

#[test]
fn exit_codes() {
    let none = Terminals::default();
    assert_eq!(run_line(&["--help"], &[], none).0, 0);
    assert_eq!(run_line(&["--version"], &[], none).0, 0);
    for wrong in [
        &["frobnicate"][..],
        &[],
        &["token", "mint"],
        &["token", "verify"],
        &["resolve", "--path", "x"],
    ] {
        let (code, out, err) = run_line(wrong, &[], none);
        assert_eq!((code, out.as_str()), (2, ""), "{wrong:?}");
        assert!(!err.is_empty());
    }
    let (code, _, err) = run_line(
        &["completions", "bash"],
        &[("ALPHASWARM_PORT_OFFSET", "many")],
        none,
    );
    assert_eq!(code, 64);
    assert!(err.contains("ALPHASWARM_PORT_OFFSET"), "{err}");
    // Nobody listens on port 1 of loopback.
    let (code, out, err) = run_line(
        &["token", "mint", "--tenant", "acme", "--idp", "http://127.0.0.1:1"],
        &[],
        none,
    );
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("alphaswarm up") && err.contains("127.0.0.1:1"),
        "{err}"
    );
}

#[test]
fn colours_are_for_terminals_and_never_with_no_color() {
    let both = Terminals {
        stdout: true,
        stderr: true,
    };
    let coloured = |variables: &[(&str, &str)], terminals| {
        let (_, out, _) = run_line(&["--help"], variables, terminals);
        let (_, _, err) = run_line(&["resolve", "--router", "nowhere"], variables, terminals);
        (out.contains('\x1b'), err.contains('\x1b'))
    };
    assert_eq!(coloured(&[], both), (true, true));
    assert_eq!(coloured(&[], Terminals::default()), (false, false));
    assert_eq!(coloured(&[("NO_COLOR", "1")], both), (false, false));
    assert_eq!(coloured(&[("NO_COLOR", "")], both), (true, true));
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = run_line(&["completions", shell], &[], Terminals::default());
        assert_eq!(code, 0, "{shell}");
        assert!(out.contains("alphaswarm") && out.contains("mint"), "{shell}");
    }
}
