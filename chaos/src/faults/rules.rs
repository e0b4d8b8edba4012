//! Who may do what: changes that take something away, and give it back. While they hold, routers that heard of them must
//! refuse.

use contract::ProviderId;
use devkit::dev;
use registry::{Command, LinkState, Revocation, TenantState};

use super::{hold, tell};
use crate::plan::Event;
use crate::scene::{Scene, policy};
use crate::tenants::{Part, REVOKED_SUBJECT, TENANTS, Tenant, with};

/// Tokens issued before this are refused: later than any of a run.
const FAR_AHEAD: i64 = 4_000_000_000;

fn one(part: Part) -> anyhow::Result<(usize, &'static Tenant)> {
    let found = with(part)
        .next()
        .and_then(|number| Some((number, TENANTS.get(number)?)));
    found.ok_or_else(|| anyhow::anyhow!("no tenant plays {part:?}"))
}

fn sent(scene: &Scene, tenant: usize, barred: bool, what: String) {
    let at = scene.now();
    let mut truth = scene.truth();
    truth.tell(at, what);
    if let Some(tenant) = truth.tenant_mut(tenant) {
        tenant.barred.sent(barred, at);
    }
}

fn acknowledged(scene: &Scene, tenant: usize) {
    let at = scene.now();
    if let Some(tenant) = scene.truth().tenant_mut(tenant) {
        tenant.barred.acknowledged(at);
    }
}

fn policy_changes(scene: &Scene, gated: bool) -> anyhow::Result<()> {
    let at = scene.now();
    {
        let mut truth = scene.truth();
        truth.tell(at, format!("the gated path wants a strong sign-in: {gated}"));
        truth.gated.sent(gated, at);
    }
    let path = scene.policy_file();
    let beside = path.with_extension("new");
    std::fs::write(&beside, policy(gated))?;
    std::fs::rename(&beside, &path)?;
    let at = scene.now();
    scene.truth().gated.acknowledged(at);
    Ok(())
}

/// The policy file is replaced twice.
pub(super) async fn policy_reload(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    policy_changes(scene, true)?;
    hold(event).await;
    policy_changes(scene, false)
}

/// A tenant is suspended for a while.
pub(super) async fn suspension(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let (number, tenant) = one(Part::Suspended)?;
    let id = tenant.tenant_id()?;
    for (barred, state) in [(true, TenantState::Suspended), (false, TenantState::Active)] {
        sent(scene, number, barred, format!("{id} becomes {state:?}"));
        let tenant = id.clone();
        scene.apply(&Command::SetTenantState { tenant, state }).await?;
        acknowledged(scene, number);
        if barred {
            hold(event).await;
        }
    }
    Ok(())
}

/// A tenant's only link is revoked for a while.
pub(super) async fn link(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let (number, tenant) = one(Part::Unlinked)?;
    sent(scene, number, true, format!("{}'s link is revoked", tenant.id));
    let revoke = Command::SetLinkState {
        link: tenant.link()?,
        state: LinkState::Revoked,
    };
    scene.apply(&revoke).await?;
    acknowledged(scene, number);
    hold(event).await;
    sent(scene, number, false, format!("{} is linked again", tenant.id));
    for command in tenant.relink()? {
        scene.apply(&command).await?;
    }
    acknowledged(scene, number);
    Ok(())
}

/// All tokens of a subject are revoked for a while.
pub(super) async fn tokens(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let (number, tenant) = one(Part::Revoked)?;
    let provider = ProviderId::parse(dev::provider_name(tenant.provider))?;
    let subject = Some(REVOKED_SUBJECT.to_owned());
    sent(
        scene,
        number,
        true,
        format!("a subject of {} is revoked", tenant.id),
    );
    let revoke = Command::Revoke(Revocation {
        provider: provider.clone(),
        subject: subject.clone(),
        token_id: None,
        not_before: FAR_AHEAD,
    });
    scene.apply(&revoke).await?;
    acknowledged(scene, number);
    hold(event).await;
    sent(
        scene,
        number,
        false,
        format!("the subject of {} may again", tenant.id),
    );
    let lift = Command::LiftRevocation {
        provider,
        subject,
        token_id: None,
    };
    scene.apply(&lift).await?;
    acknowledged(scene, number);
    tell(scene, format!("{}'s subject is free", tenant.id));
    Ok(())
}
