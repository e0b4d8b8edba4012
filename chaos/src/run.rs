//! A run: the scene, the load and the plan's lanes beside each other, until the time is over.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devkit::load::Load;
use tokio::task::JoinSet;

use crate::faults::carry_out;
use crate::load;
use crate::plan::{Event, Kind, Lane, schedule};
use crate::report::{Summary, Tally};
use crate::scene::{PROVIDERS, Scene};
use crate::tenants::TENANTS;
use crate::wallet;

/// The longest fault, its waits included: a move that waits for a router that is cut off, in a cell that is down.
const FAULT: Duration = Duration::from_secs(150);
/// How often changes are looked at for having been applied.
const SETTLE: Duration = Duration::from_millis(25);
/// How often a token comes that no router has seen.
const FRESH: Duration = Duration::from_millis(100);
/// How often all tokens are minted anew: well within the hour for which they are good.
const RENEWED: Duration = Duration::from_secs(900);
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(10);

/// What run is wanted.
#[derive(Clone, Debug)]
pub struct Options {
    /// All chance comes from it.
    pub seed: u64,
    /// How long requests come.
    pub duration: Duration,
    /// Requests a second, over all Envoys.
    pub rate: u32,
    /// Which faults.
    pub kinds: Vec<Kind>,
    /// The part of the good requests that must be served outside of declared outages.
    pub availability: f64,
    /// How often each kind of fault must have happened.
    pub least: u64,
    /// Where configuration, registry and logs are kept, if they are.
    pub folder: Option<PathBuf>,
}

/// A run that is under way.
#[derive(Debug)]
pub struct Run {
    options: Options,
    scene: Arc<Scene>,
    tally: Arc<Tally>,
    loads: Vec<Load>,
    lanes: JoinSet<()>,
    beside: JoinSet<()>,
}

impl Run {
    /// Starts the scene, the load and the faults.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let scene = Scene::start(options.folder.as_deref()).await?;
        let tally = Arc::new(Tally::default());
        let loads = load::start(&scene, &tally, options.seed, options.rate, options.duration).await?;
        let events = schedule(options.seed, options.duration, &options.kinds);
        let mut lanes = JoinSet::new();
        for lane in Lane::ALL {
            let events: Vec<Event> = events
                .iter()
                .copied()
                .filter(|event| event.kind.lane() == lane)
                .collect();
            lanes.spawn(carry_out_all(
                Arc::clone(&scene),
                Arc::clone(&tally),
                events,
                options.duration,
            ));
        }
        let mut beside = JoinSet::new();
        beside.spawn(settle(Arc::clone(&scene)));
        beside.spawn(freshen(Arc::clone(&scene)));
        beside.spawn(renew(Arc::clone(&scene)));
        beside.spawn(progress(Arc::clone(&scene), Arc::clone(&tally), options.duration));
        Ok(Self {
            options,
            scene,
            tally,
            loads,
            lanes,
            beside,
        })
    }

    /// What it happens to.
    #[must_use]
    pub fn scene(&self) -> Arc<Scene> {
        Arc::clone(&self.scene)
    }

    /// Waits for its end, and stops everything.
    pub async fn finish(mut self) -> anyhow::Result<Summary> {
        for load in self.loads {
            let report = load.report().await?;
            eprintln!("{}", report.table());
        }
        // A move that still waits for its cell ends without load, too.
        while let Some(ended) = self.lanes.join_next().await {
            if let Err(error) = ended {
                self.tally
                    .trouble(format!("a lane of faults ended early: {error}"));
            }
        }
        self.beside.shutdown().await;
        for name in self.scene.stack.stop().await {
            self.tally
                .trouble(format!("{name} did not stop in time and was killed"));
        }
        let Options {
            seed,
            availability,
            kinds,
            least,
            ..
        } = &self.options;
        Ok(self.tally.summary(*seed, *availability, kinds, *least))
    }
}

async fn carry_out_all(scene: Arc<Scene>, tally: Arc<Tally>, events: Vec<Event>, end: Duration) {
    for event in events {
        tokio::time::sleep(event.at.saturating_sub(scene.now())).await;
        if scene.now() >= end {
            // Whatever came before took longer than planned.
            return;
        }
        match tokio::time::timeout(FAULT, carry_out(&scene, &event)).await {
            Ok(Ok(())) => tally.fault(event.kind),
            Ok(Err(error)) => tally.trouble(format!(
                "{:?} at {:.1} s: {error:#}",
                event.kind,
                event.at.as_secs_f64()
            )),
            Err(_) => tally.trouble(format!(
                "{:?} at {:.1} s takes longer than {FAULT:?}",
                event.kind,
                event.at.as_secs_f64()
            )),
        }
    }
}

async fn settle(scene: Arc<Scene>) {
    loop {
        let now = scene.now();
        scene.truth().settle(now);
        tokio::time::sleep(SETTLE).await;
    }
}

/// An identity provider that is down now and then is part of the game: what cannot be minted now is minted later.
async fn freshen(scene: Arc<Scene>) {
    for tenant in (0..TENANTS.len()).cycle() {
        let _ = scene.wallet.freshen(&scene.idp, tenant).await;
        tokio::time::sleep(FRESH).await;
    }
}

async fn renew(scene: Arc<Scene>) {
    loop {
        tokio::time::sleep(RENEWED).await;
        let _minting = scene.wallet.minting.lock().await;
        loop {
            let renewed = async {
                scene.stack.renew_feed_token().await?;
                wallet::mint(&scene.idp, &PROVIDERS).await
            };
            if let Ok(fresh) = renewed.await {
                scene.wallet.install(fresh);
                break;
            }
            tokio::time::sleep(FRESH).await;
        }
    }
}

async fn progress(scene: Arc<Scene>, tally: Arc<Tally>, of: Duration) {
    loop {
        tokio::time::sleep(PROGRESS).await;
        eprintln!("{}", tally.progress(scene.now(), of));
    }
}
