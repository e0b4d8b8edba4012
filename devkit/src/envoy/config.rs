//! The production configuration, moved to a stack's ports. Text, not YAML: comments stay, so that what runs can be
//! compared with what is shipped.

use anyhow::{Context as _, bail};
use contract::port;

use crate::ports::Ports;

/// `yaml` with every known default port moved: Envoy's own by `own`, the router's by `router`. Other ports (a cell's)
/// stay. An error when Envoy's listener or admin port is not in it: then two Envoys would meet on one port.
pub fn move_ports(yaml: &str, own: Ports, router: Ports) -> anyhow::Result<String> {
    const KEY: &str = "port_value:";
    let mut moved = String::with_capacity(yaml.len());
    let mut seen = Vec::new();
    let mut rest = yaml;
    while let Some((before, after)) = rest.split_once(KEY) {
        moved.push_str(before);
        moved.push_str(KEY);
        let number = after.trim_start_matches(' ');
        let digits = number.len() - number.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (digits, tail) = number.split_at(digits);
        moved.push_str(after.strip_suffix(number).unwrap_or_default());
        match digits.parse::<u16>() {
            Ok(default @ (port::EDGE | port::EDGE_ADMIN)) => {
                seen.push(default);
                moved.push_str(&own.at(default).to_string());
            }
            Ok(default) if port::ALL.contains(&default) => moved.push_str(&router.at(default).to_string()),
            _ => moved.push_str(digits),
        }
        rest = tail;
    }
    moved.push_str(rest);
    for needed in [port::EDGE, port::EDGE_ADMIN] {
        if !seen.contains(&needed) {
            bail!("the Envoy configuration has no `{KEY} {needed}`, so that its ports cannot be moved");
        }
    }
    Ok(moved)
}

/// `yaml` with the one endpoint on loopback's port `from` replaced by those on the ports `to`: several replicas behind
/// one cluster. An error unless there is exactly one.
pub fn endpoints(yaml: &str, from: u16, to: &[u16]) -> anyhow::Result<String> {
    let endpoint = |port: u16| {
        format!(
            "{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}"
        )
    };
    let (before, after) = yaml
        .split_once(&endpoint(from))
        .with_context(|| format!("the Envoy configuration has no endpoint on port {from}"))?;
    if after.contains(&endpoint(from)) {
        bail!("the Envoy configuration has several endpoints on port {from}");
    }
    let replicas: Vec<String> = to.iter().map(|port| endpoint(*port)).collect();
    Ok(format!("{before}{}{after}", replicas.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "admin: { port_value: 10901 } # x\n  a: { port_value:9191 }\n- port_value:   10000\nport_value: 8080}\n\
                        port_value: 443\nport_value: 80800\nport_value: abc\nlast: 10000, port_value: 9192";

    #[test]
    fn known_ports_move_and_nothing_else_changes() {
        let moved = move_ports(YAML, Ports::new(100).unwrap(), Ports::new(1).unwrap()).unwrap();
        assert_eq!(
            moved,
            "admin: { port_value: 11001 } # x\n  a: { port_value:9192 }\n- port_value:   10100\nport_value: 8081}\n\
             port_value: 443\nport_value: 80800\nport_value: abc\nlast: 10000, port_value: 9193"
        );
        let still = Ports::new(0).unwrap();
        assert_eq!(move_ports(YAML, still, still).unwrap(), YAML);
    }

    #[test]
    fn a_configuration_without_our_listener_is_refused() {
        let ports = Ports::new(1).unwrap();
        let error = move_ports("port_value: 10901", ports, ports)
            .unwrap_err()
            .to_string();
        assert!(error.contains("10000"), "{error}");
    }

    #[test]
    fn one_endpoint_becomes_several() {
        let path = crate::place::envoy_config(&crate::place::repository().unwrap());
        let yaml = std::fs::read_to_string(path).unwrap();
        let two = endpoints(&yaml, port::ROUTER_GRPC, &[7001, 7002]).unwrap();
        for port in [7001, 7002] {
            assert_eq!(two.matches(&format!("port_value: {port} ")).count(), 1, "{port}");
        }
        assert!(!two.contains(&format!("port_value: {} ", port::ROUTER_GRPC)));
        assert!(endpoints(&two, port::ROUTER_GRPC, &[7003]).is_err(), "it is gone");
        let twice = endpoints(&yaml, port::ROUTER_HTTP, &[port::ROUTER_GRPC]).unwrap();
        assert!(
            endpoints(&twice, port::ROUTER_GRPC, &[7003]).is_err(),
            "two of them"
        );
    }

    #[test]
    fn the_production_configuration_can_be_moved() {
        let path = crate::place::envoy_config(&crate::place::repository().unwrap());
        let yaml = std::fs::read_to_string(path).unwrap();
        let ports = Ports::new(7).unwrap();
        let moved = move_ports(&yaml, ports, ports).unwrap();
        for default in [
            port::EDGE,
            port::EDGE_ADMIN,
            port::ROUTER_GRPC,
            port::ROUTER_HTTP,
            port::ROUTER_CONTROL,
        ] {
            assert!(
                !moved.contains(&format!("port_value: {default} ")),
                "{default} did not move"
            );
            assert!(
                moved.contains(&format!("port_value: {} ", default + 7)),
                "{default} is not at its new place"
            );
        }
    }
}
