//! The command line: its grammar and its help. What is registry-specific continues in [`registry`].

pub mod envoy;

pub mod operator;

pub mod registry;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use contract::dev::DevProvider;

use self::envoy::EnvoyCommand;
use self::operator::{Explain, Jwks, LogLevel, Xds};
use self::registry::{Cells, Hosts, Links, PlacementNoun, RegistryNoun, Revocations, Tenants};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "alphaswarm",
    version,
    about = "Operate the tenant router: where tenants live, who may come in, and the dev stack",
    propagate_version = true,
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = 110,
    after_help = "\
Start here:
  alphaswarm up                                   the dev stack, until Ctrl-C
  alphaswarm tenants list                         who lives where
  curl -H \"authorization: Bearer $(alphaswarm token mint --tenant acme)\" localhost:10000/api/x

Environment:
  REGISTRY_URL            the registry to work on (default sqlite:.alphaswarm/registry.db, the dev stack's)
  ALPHASWARM_OPERATOR_TOKEN  what explain, jwks, xds and log-level show (default: none; see their --operator-token-file)
  ALPHASWARM_PORT_OFFSET  added to every default port on this machine
  USER                    who signs the change log, unless --actor says otherwise
  NO_COLOR                set: no colours

Exit codes: 0 done; 1 refused or failed; 2 wrong command line; 64 wrong environment or setting."
)]
pub struct Cli {
    /// Print JSON instead of tables and sentences.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The nouns.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the dev stack in the foreground: Envoy, the router, an identity provider, two demo cells.
    #[command(after_help = "\
Examples:
  alphaswarm up                                   until Ctrl-C; prints `ready` and what to paste
  ALPHASWARM_PORT_OFFSET=100 alphaswarm up        a second stack beside the first
  alphaswarm up --packaging module                decides inside Envoy
  alphaswarm up -- --help                         the options of the dev stack itself")]
    Up {
        /// Options for `alphaswarm-dev up`, passed on as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<OsString>,
    },
    /// Mint dev tokens; verify signatures.
    #[command(
        subcommand,
        after_help = "\
Examples:
  alphaswarm token mint --tenant acme
  alphaswarm token verify --jws-only --jwks keys.json < token.txt"
    )]
    Token(TokenCommand),
    /// Ask a router where a request would go.
    #[command(after_help = "\
Examples:
  alphaswarm resolve --tenant acme                         with a token of the dev stack
  alphaswarm resolve --tenant acme --path /billing --method POST
  alphaswarm resolve --token-file - < token.txt            any token, from stdin
  alphaswarm resolve --host acme.example.com --path /      without a token: only public routes

Which host and method count is the router's RESOLVE_FROM; where it is unset, neither does, and the route is judged by
the strictest class of the policy (so that a policy with a step_up class wants --acr high for every path).")]
    Resolve(Resolve),
    /// Ask a router why a token is let in or refused.
    #[command(after_help = "\
Examples:
  alphaswarm token mint --tenant operator --role cluster:read > operator.jwt
  alphaswarm explain --operator-token-file operator.jwt < token.txt
  alphaswarm explain --operator-token-file operator.jwt --token-file token.txt --host acme.example.com --path /admin
  alphaswarm explain --operator-token-file operator.jwt --access < access.txt
  alphaswarm explain --operator-token-file operator.jwt --anonymous --path /public/logo --json

It tells what no client learns, so it wants an operator's token (scope cluster:read, listed in the router's
ALPHASWARM_OPERATORS). No token is ever printed.

Exit code 0: the request would be let in; 1: refused, or the router does not answer; 2: wrong command line.")]
    Explain(Explain),
    /// The keys of the identity providers, as a router has them.
    #[command(
        subcommand,
        after_help = "\
Examples:
  alphaswarm jwks status --operator-token-file operator.jwt"
    )]
    Jwks(Jwks),
    /// The Envoys that take their configuration from routers.
    #[command(
        subcommand,
        after_help = "\
Examples:
  alphaswarm xds status --operator-token-file operator.jwt"
    )]
    Xds(Xds),
    /// What a running router or control plane logs: show it, or change it for a while.
    #[command(after_help = "\
Examples:
  alphaswarm token mint --tenant operator --role cluster:read --role cluster:admin > operator.jwt
  alphaswarm log-level --operator-token-file operator.jwt
  alphaswarm log-level info,decision=debug --for 5m --operator-token-file operator.jwt
  alphaswarm log-level info,edge=debug --control-plane http://127.0.0.1:8090 --operator-token-file operator.jwt

To look needs the scope cluster:read, to change cluster:admin. What is changed ends by itself. Libraries are never
logged below info, whatever the filter says: their lines hold headers.")]
    LogLevel(LogLevel),
    /// Envoy's configuration: what in it lets requests pass undecided.
    #[command(
        subcommand,
        after_help = "\
Examples:
  alphaswarm envoy check envoy/envoy.yaml"
    )]
    Envoy(EnvoyCommand),
    /// Cells: where tenants can live.
    #[command(after_help = "\
Examples:
  alphaswarm cells list
  alphaswarm cells add --cell cell-b --endpoint 10.0.0.5:8100 --tier pro --region eu --runtime http://10.0.0.5:8100
  alphaswarm cells activate --cell cell-b")]
    Cells(Cells),
    /// Tenants: who lives where, and how they move.
    #[command(after_help = "\
Examples:
  alphaswarm tenants list --json
  alphaswarm tenants add --tenant hooli --name 'Hooli Inc.'
  alphaswarm tenants place --tenant hooli --cell cell-b
  alphaswarm tenants activate --tenant hooli
  alphaswarm tenants move --tenant acme --to cell-b")]
    Tenants(Tenants),
    /// Identity links: what in a token names a tenant.
    #[command(after_help = "\
Examples:
  alphaswarm links list --tenant acme
  alphaswarm links add --tenant acme --provider entra --kind tid --id 72f988bf-86f1-41af-91ab-2d7cd011db47
  alphaswarm links activate --provider entra --kind tid --id 72f988bf-86f1-41af-91ab-2d7cd011db47")]
    Links(Links),
    /// Host names that belong to one tenant.
    #[command(after_help = "\
Examples:
  alphaswarm hosts list
  alphaswarm hosts add --host acme.example.com --tenant acme
  alphaswarm hosts remove --host acme.example.com")]
    Hosts(Hosts),
    /// The registry itself: its version, its readers, its change log.
    #[command(after_help = "\
Examples:
  alphaswarm registry status
  alphaswarm registry changes --after 1.40
  alphaswarm registry adopt")]
    Registry(RegistryNoun),
    /// Where policy would have tenants live.
    #[command(after_help = "\
Examples:
  alphaswarm placement plan
  alphaswarm placement plan --policy cells.jsonl --json")]
    Placement(PlacementNoun),
    /// Tokens that are refused although they verify.
    #[command(after_help = "\
Examples:
  alphaswarm revocations list
  alphaswarm revocations add --provider entra --token-id 4Xr1…
  alphaswarm revocations add --principal entra:72f988bf/3f2a        every token of one caller until now")]
    Revocations(Revocations),
    /// Print a shell's completion script.
    #[command(after_help = "\
Examples:
  alphaswarm completions bash > ~/.local/share/bash-completion/completions/alphaswarm
  alphaswarm completions zsh > ~/.zfunc/_alphaswarm
  alphaswarm completions fish > ~/.config/fish/completions/alphaswarm.fish")]
    Completions(Completions),
}

/// `alphaswarm token …`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Print a token signed by the dev stack's identity provider. It is good unless options bend it.
    #[command(after_help = "\
Examples:
  alphaswarm token mint --tenant acme
  alphaswarm token mint --tenant acme --expired
  alphaswarm token mint --tenant acme --claim 'aud=[\"a\",\"b\"]' --claim nbf=null
  curl -H \"$(alphaswarm token mint --tenant initech --header)\" localhost:10000/api/x

Only the token goes to stdout. A Cloudflare Access token travels in Cf-Access-Jwt-Assertion, the others as a bearer
token; --header prints the whole header line.")]
    Mint(Box<Mint>),
    /// Check the signature of the token on stdin, and nothing else.
    #[command(after_help = "\
Examples:
  alphaswarm token verify --jws-only --jwks keys.json < token.txt
  curl -s localhost:8190/auth0/.well-known/jwks.json > keys.json
  alphaswarm token mint --tenant globex | alphaswarm token verify --jws-only --jwks keys.json

Exit code 0: verified; 1: refused, also where no key of the set is usable; 2: usage. It says who signed, not what the
token permits: it drives public test vectors, it admits nobody.")]
    Verify(Verify),
}

/// `alphaswarm token mint`
#[derive(Debug, Args)]
pub struct Mint {
    /// The token's shape.
    #[command(flatten)]
    pub shape: MintShape,
    /// Print the whole header line that carries the token.
    #[arg(long)]
    pub header: bool,
}

/// The shape of a dev token.
#[derive(Debug, Args)]
pub struct MintShape {
    /// A dev tenant: acme, globex, initech or umbrella; any other name gives a token that no link knows.
    #[arg(long)]
    pub tenant: String,
    /// Who signs; by default the provider that the tenant uses.
    #[arg(long, value_enum)]
    pub provider: Option<Provider>,
    /// An hour past its expiry.
    #[arg(long, conflicts_with = "lifetime")]
    pub expired: bool,
    /// Another audience than the configured one.
    #[arg(long, value_name = "AUDIENCE")]
    pub audience: Option<String>,
    /// `high`: with the provider's own sign of a strong sign-in.
    #[arg(long, value_name = "LEVEL")]
    pub acr: Option<String>,
    /// A scope; repeat for more.
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// A role (Entra) or permission (Auth0); repeat for more.
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
    /// A service principal instead of a user.
    #[arg(long)]
    pub service: bool,
    /// Entra's token version.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub version: Option<u8>,
    /// Seconds until it expires; negative for an expired one. One hour by default.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub lifetime: Option<i64>,
    /// Another subject than the tenant's usual one.
    #[arg(long)]
    pub subject: Option<String>,
    /// A claim that overwrites what the above gave: name=JSON, or name=text; null removes it. Repeat for more.
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = parse_member)]
    pub claims: Vec<(String, serde_json::Value)>,
    /// A JOSE header member, likewise.
    #[arg(long = "jose", value_name = "NAME=VALUE", value_parser = parse_member)]
    pub jose: Vec<(String, serde_json::Value)>,
    /// Base URL of the dev identity provider [default: http://127.0.0.1:8190, plus ALPHASWARM_PORT_OFFSET]
    #[arg(long, value_name = "URL")]
    pub idp: Option<String>,
}

impl MintShape {
    /// A good user token of `tenant`.
    #[must_use]
    pub fn good(tenant: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            provider: None,
            expired: false,
            audience: None,
            acr: None,
            scopes: Vec::new(),
            roles: Vec::new(),
            service: false,
            version: None,
            lifetime: None,
            subject: None,
            claims: Vec::new(),
            jose: Vec::new(),
            idp: None,
        }
    }
}

/// `alphaswarm token verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// The signature only: no issuer, audience or time is judged.
    #[arg(long, required = true)]
    pub jws_only: bool,
    /// A file with a JWK set.
    #[arg(long, value_name = "FILE")]
    pub jwks: PathBuf,
}

/// `alphaswarm resolve`
#[derive(Debug, Args)]
pub struct Resolve {
    /// The request's host; the router's own address when absent.
    #[arg(long)]
    pub host: Option<String>,
    /// The request's path and query.
    #[arg(long, default_value = "/", value_parser = parse_path)]
    pub path: String,
    /// The request's method.
    #[arg(long, default_value = "GET", value_parser = parse_method)]
    pub method: reqwest::Method,
    /// A file that holds the token, or - for stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "tenant")]
    pub token_file: Option<PathBuf>,
    /// The token is a Cloudflare Access one: it travels in Cf-Access-Jwt-Assertion.
    #[arg(long, requires = "token_file")]
    pub access: bool,
    /// Mint a good dev token of this tenant.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Who signs it; by default the provider that the tenant uses.
    #[arg(long, value_enum, requires = "tenant")]
    pub provider: Option<Provider>,
    /// `high`: with a strong sign-in.
    #[arg(long, value_name = "LEVEL", requires = "tenant")]
    pub acr: Option<String>,
    /// Base URL of the dev identity provider [default: http://127.0.0.1:8190, plus ALPHASWARM_PORT_OFFSET]
    #[arg(long, value_name = "URL", requires = "tenant")]
    pub idp: Option<String>,
    /// Base URL of the router's HTTP listener [default: http://127.0.0.1:8080, plus ALPHASWARM_PORT_OFFSET]
    #[arg(long, value_name = "URL")]
    pub router: Option<String>,
}

/// `alphaswarm completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell.
    pub shell: Shell,
}

/// The shells with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// Fish.
    Fish,
}

impl From<Shell> for clap_complete::Shell {
    fn from(shell: Shell) -> Self {
        match shell {
            Shell::Bash => Self::Bash,
            Shell::Zsh => Self::Zsh,
            Shell::Fish => Self::Fish,
        }
    }
}

/// [`DevProvider`] as the command line spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Provider {
    /// Microsoft Entra ID.
    Entra,
    /// Auth0.
    Auth0,
    /// Cloudflare Access.
    CloudflareAccess,
}

impl From<Provider> for DevProvider {
    fn from(provider: Provider) -> Self {
        match provider {
            Provider::Entra => Self::Entra,
            Provider::Auth0 => Self::Auth0,
            Provider::CloudflareAccess => Self::CloudflareAccess,
        }
    }
}

/// `name=value`, the value as JSON if it is JSON, else as text.
fn parse_member(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    if name.is_empty() {
        return Err("the name is empty: write it as name=value".to_owned());
    }
    Ok((
        name.to_owned(),
        serde_json::from_str(value).unwrap_or_else(|_| value.into()),
    ))
}

pub(crate) fn parse_path(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err("a path begins with /".to_owned())
    }
}

fn parse_method(text: &str) -> Result<reqwest::Method, String> {
    match text.parse::<reqwest::Method>() {
        // An answer to HEAD has no body, and CONNECT none that HTTP clients show.
        Ok(reqwest::Method::HEAD | reqwest::Method::CONNECT) => Err("ask with GET instead".to_owned()),
        Ok(method) => Ok(method),
        Err(_) => Err("no HTTP method".to_owned()),
    }
}
