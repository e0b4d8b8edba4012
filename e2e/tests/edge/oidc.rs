//! A real OpenID provider (`e2e/oidc/server.mjs`), and a browser that signs in at it over HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use contract::port;
use devkit::dev::GLOBEX_ORG;
use devkit::place;
use devkit::ports::Block;
use devkit::process::{Program, Spec};
use devkit::reaper::Reaper;
use devkit::skip::skip;
use reqwest::Url;
use serde_json::{Value, json};

/// The API that tokens are asked for.
pub(crate) const AUDIENCE: &str = "https://api.alphaswarm.local/orders";
const CLIENT: &str = "orders-app";
const REDIRECT: &str = "http://127.0.0.1/signed-in";
/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const START: Duration = Duration::from_secs(60);
/// Redirects and pages of one sign-in; there are about seven.
const STEPS: usize = 20;

/// The running provider; gone when dropped.
pub(crate) struct Provider {
    program: Program,
    issuer: String,
    control: String,
    client: reqwest::Client,
    // After the program, so that nobody else gets its ports while it ends.
    _block: Block,
    _folder: tempfile::TempDir,
}

/// What a sign-in brings.
pub(crate) struct SignedIn {
    /// For our API: a JWT of RFC 9068.
    pub(crate) access_token: String,
    pub(crate) id_token: String,
}

impl Provider {
    /// Starts it; `None`, and the test is skipped, where Node or the package is missing.
    pub(crate) async fn start(test: &str) -> Option<Self> {
        let repository = place::repository().unwrap();
        let modules = repository.join("target/oidc");
        let node = std::process::Command::new("node").arg("--version").output();
        if !node.is_ok_and(|node| node.status.success())
            || !modules.join("node_modules/oidc-provider").is_dir()
        {
            skip(test, "no Node with oidc-provider here (make tools)");
            return None;
        }
        let (block, folder) = (Block::free().unwrap(), tempfile::tempdir().unwrap());
        let serves: SocketAddr = block.ports().addr(port::DEV_IDP);
        let control = block.ports().addr(port::EDGE);
        let env = [
            ("OIDC_AUDIENCE", AUDIENCE),
            ("OIDC_CLIENT", CLIENT),
            ("OIDC_REDIRECT", REDIRECT),
            ("OIDC_ORG", GLOBEX_ORG),
        ];
        let spec = Spec {
            name: "oidc-provider".to_owned(),
            program: "node".into(),
            args: vec![
                repository.join("e2e/oidc/server.mjs").into(),
                modules.into(),
                serves.port().to_string().into(),
                control.port().to_string().into(),
            ],
            env: env
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            log: folder.path().join("oidc-provider.log"),
            ready: Some((control, "/healthz".to_owned())),
        };
        let reaper = Reaper::start(&place::program(place::DEV).unwrap()).unwrap();
        let program = Program::new(spec, Arc::new(reaper));
        program.start(START).await.unwrap();
        Some(Self {
            program,
            issuer: format!("http://{serves}/"),
            control: format!("http://{control}"),
            client: plain_client(),
            _block: block,
            _folder: folder,
        })
    }

    /// The providers file of a router that trusts it, and nothing else.
    pub(crate) fn providers_file(&self) -> String {
        format!(
            "[[provider]]\nname = \"oidc\"\nkind = \"auth0\"\nprofile = \"rfc9068\"\ndomain = \"{}\"\naudience = \"{AUDIENCE}\"\n",
            self.issuer
        )
    }

    /// Publishes these keys from now on, and signs with `signs`.
    pub(crate) async fn publish(&self, published: &[&str], signs: &str) {
        let request = self.client.post(format!("{}/keys", self.control));
        let answer = request
            .body(json!({"published": published, "signs": signs}).to_string())
            .send()
            .await
            .unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap());
    }

    /// How often its keys were fetched.
    pub(crate) async fn key_fetches(&self) -> u64 {
        let answer = self.client.get(format!("{}/stats", self.control)).send();
        let stats: Value = answer.await.unwrap().json().await.unwrap();
        stats["jwks"].as_u64().unwrap()
    }

    /// A browser without any session.
    pub(crate) fn browser(&self) -> Browser {
        Browser {
            client: plain_client(),
            issuer: Url::parse(&self.issuer).unwrap(),
            cookies: BTreeMap::new(),
            pages: Vec::new(),
        }
    }

    /// Its last words, for a failed test.
    pub(crate) fn log(&self) -> String {
        self.program.log_tail(30)
    }
}

fn plain_client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}

/// A browser with its cookies, and the application's part of the code flow.
pub(crate) struct Browser {
    client: reqwest::Client,
    issuer: Url,
    /// By path and name.
    cookies: BTreeMap<(String, String), String>,
    /// The pages that it was shown, by their prompt.
    pub(crate) pages: Vec<String>,
}

impl Browser {
    /// The whole authorization code flow with PKCE: signs in as `user` and consents where it is asked.
    pub(crate) async fn sign_in(&mut self, user: &str) -> anyhow::Result<SignedIn> {
        let start = self.url(
            "auth",
            &[
                ("client_id", CLIENT),
                ("response_type", "code"),
                ("redirect_uri", REDIRECT),
                ("scope", "openid read write"),
                ("resource", AUDIENCE),
                ("state", "af0ifjsldkj"),
                ("code_challenge", CHALLENGE),
                ("code_challenge_method", "S256"),
            ],
        )?;
        let code = self.authorize(start, user).await?;
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", CLIENT),
            ("redirect_uri", REDIRECT),
            ("code", code.as_str()),
            ("code_verifier", VERIFIER),
            ("resource", AUDIENCE),
        ];
        let tokens = self.post(self.issuer.join("token")?, &form).await?;
        let status = tokens.status();
        let tokens: Value = tokens.json().await?;
        let text = |name: &str| {
            let text = tokens[name].as_str().map(str::to_owned);
            text.with_context(|| format!("no {name}: {status} {}", tokens["error_description"]))
        };
        Ok(SignedIn {
            access_token: text("access_token")?,
            id_token: text("id_token")?,
        })
    }

    /// From the application's request to the code that comes back to it.
    async fn authorize(&mut self, start: Url, user: &str) -> anyhow::Result<String> {
        let mut answer = self.get(start).await?;
        for _ in 0..STEPS {
            if answer.status().is_redirection() {
                let location = answer
                    .headers()
                    .get("location")
                    .context("no location")?
                    .to_str()?;
                let next = answer.url().join(location)?;
                if next.as_str().starts_with(REDIRECT) {
                    return self.code(&next);
                }
                answer = self.get(next).await?;
                continue;
            }
            let (status, at) = (answer.status(), answer.url().clone());
            let page = answer.text().await?;
            let prompt = if page.contains("value=\"login\"") {
                "login"
            } else if page.contains("value=\"consent\"") {
                "consent"
            } else {
                bail!("{status}: neither a sign-in nor a consent page: {page}");
            };
            self.pages.push(prompt.to_owned());
            let action = between(&page, "action=\"", "\"").context("no form")?;
            let form = [("prompt", prompt), ("login", user), ("password", "any")];
            answer = self.post(at.join(action)?, &form).await?;
        }
        bail!("no code after {STEPS} steps")
    }

    fn code(&self, back: &Url) -> anyhow::Result<String> {
        let parameters: BTreeMap<_, _> = back.query_pairs().into_owned().collect();
        anyhow::ensure!(
            parameters.get("state").map(String::as_str) == Some("af0ifjsldkj")
                && parameters.get("iss").map(String::as_str) == Some(self.issuer.as_str()),
            "not the answer to our request: {parameters:?}"
        );
        parameters.get("code").cloned().context("no code")
    }

    fn url(&self, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Url> {
        let mut url = self.issuer.join(path)?;
        url.query_pairs_mut().extend_pairs(parameters);
        Ok(url)
    }

    async fn get(&mut self, url: Url) -> anyhow::Result<reqwest::Response> {
        let request = self
            .client
            .get(url.clone())
            .header("cookie", self.cookies_for(&url));
        self.keep_cookies(request.send().await?)
    }

    async fn post(&mut self, url: Url, form: &[(&str, &str)]) -> anyhow::Result<reqwest::Response> {
        // Encoded as a query is.
        let body = self.url("", form)?.query().unwrap_or_default().to_owned();
        let request = self
            .client
            .post(url.clone())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", self.cookies_for(&url))
            .body(body);
        self.keep_cookies(request.send().await?)
    }

    fn cookies_for(&self, url: &Url) -> String {
        let pairs = self
            .cookies
            .iter()
            .filter(|((path, _), _)| url.path().starts_with(path.as_str()));
        pairs
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn keep_cookies(&mut self, answer: reqwest::Response) -> anyhow::Result<reqwest::Response> {
        for cookie in answer.headers().get_all("set-cookie") {
            let cookie = cookie.to_str()?;
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').context("a cookie without a value")?;
            let path = between(&format!("{attributes};"), "path=", ";")
                .unwrap_or("/")
                .to_owned();
            let key = (path, name.to_owned());
            // That is how the provider removes one.
            if value.is_empty() {
                self.cookies.remove(&key);
            } else {
                self.cookies.insert(key, value.to_owned());
            }
        }
        Ok(answer)
    }
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}
