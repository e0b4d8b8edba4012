//! Default ports. `ALPHASWARM_PORT_OFFSET` moves all of them together.

/// Envoy's listener.
pub const EDGE: u16 = 10_000;
/// Envoy's admin interface.
pub const EDGE_ADMIN: u16 = 10_901;
/// ext_authz and gRPC health.
pub const ROUTER_GRPC: u16 = 9191;
/// `/resolve`, probes, metrics, JWKS.
pub const ROUTER_HTTP: u16 = 8080;
/// xDS, access-log service, `/explain`.
pub const ROUTER_CONTROL: u16 = 9192;
/// The control plane.
pub const CONTROL_PLANE: u16 = 8090;
/// A cell's workload runtime in production.
pub const CELL_RUNTIME: u16 = 8100;
/// The dev stack's two demo cells.
pub const DEMO_CELLS: [u16; 2] = [8101, 8102];
/// Their runtimes.
pub const DEMO_RUNTIMES: [u16; 2] = [8201, 8202];
/// The dev identity provider.
pub const DEV_IDP: u16 = 8190;

/// Where an OpenTelemetry collector takes traces (OTLP over gRPC).
pub const OTLP: u16 = 4317;

/// All of them, for a check that a whole block is free.
pub const ALL: [u16; 12] = [
    EDGE,
    EDGE_ADMIN,
    ROUTER_GRPC,
    ROUTER_HTTP,
    ROUTER_CONTROL,
    CONTROL_PLANE,
    8101,
    8102,
    8201,
    8202,
    DEV_IDP,
    OTLP,
];
