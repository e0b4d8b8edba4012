//! Envoy's side: the hooks that it calls and the callbacks that it offers, ABI v0.2.0 of dynamic modules, as far as this
//! filter uses them. Unsafe code is here and in the two files below, and nowhere else: [`abi`] has the types and callbacks,
//! [`envoy`] what is asked of Envoy; this file has the hooks. None of those types leaves them.
//!
//! What holds everywhere below, and what the single arguments rest on:
//!
//! - *Pointers of Envoy* (`EnvoyConfig`, `EnvoyFilter`) are handed back to Envoy unread, and only while the hook runs that
//!   brought them; the one exception is [`Scheduler`].
//! - *Bytes that Envoy lends* are read before the hook returns, and before Envoy is told to change anything: [`EnvoyHost`]
//!   lends them on for `&self`, and changes with `&mut self`.
//! - *Bytes that we lend* to a callback are copied by Envoy before the callback returns.
//! - *Our pointer* is an [`Instance`], shared by all requests of its configuration. Envoy destroys the configuration only
//!   when no filter of it is left.
//! - *Nothing unwinds into Envoy*: each hook that does anything is [`guarded`]; in the others nothing can panic.
//!
//! Envoy only warns about a module of another ABI. A callback that it does not have keeps the library from loading, and
//! then Envoy from starting: so the version is pinned where it is deployed, and what does not fit ends closed.

#![expect(unsafe_code, reason = "Envoy's ABI is C; every block has its argument")]

mod abi;
mod envoy;

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

use decision::policy::{self, Watch};

use self::abi::{
    CONTINUE, Define, EnvoyBytes, EnvoyConfig, EnvoyFilter, OurBytes, OurConfig, OurFilter, STOP_ITERATION,
    SUCCESS, define_counter, define_gauge, get_concurrency, is_validation_mode, set_gauge,
};
use self::envoy::{EnvoyHost, EnvoyOutside, Scheduler, log};
use crate::config::Config;
use crate::filter::{Verdict, on_request};
use crate::follow::{self, Following};
use crate::host::Level;
use crate::metrics::{Counter, Gauge};
use crate::world::Edge;

/// What a configuration of the filter became. Envoy has the pointer to it for its configuration, and for each of its
/// filters: a request needs no memory of its own.
struct Instance {
    edge: Arc<Edge>,
    counters: Vec<(Counter, usize)>,
    gauges: Vec<(Gauge, usize)>,
    scheduler: Arc<Scheduler>,
    /// `None` while Envoy only checks its configuration.
    _following: Option<Following>,
}

// Requests on all of Envoy's threads share one.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Instance>();
};

impl Instance {
    /// # Safety
    /// `envoy` is the configuration of the running `config_new` hook, on Envoy's main thread.
    unsafe fn new(envoy: EnvoyConfig, text: &[u8]) -> Result<Self, String> {
        let config = Config::parse(text).map_err(|errors| errors.to_string())?;
        // Before it is read, so that no change is missed.
        let policy_seen = Watch::new(config.rules.policy_file.as_deref().and_then(policy::stamp));
        let policy = config.policy()?;
        // SAFETY: on the main thread, by our caller's word.
        let workers = unsafe { get_concurrency() };
        let workers = usize::try_from(workers).unwrap_or(usize::MAX);
        let edge = Arc::new(Edge::new(config, policy, workers)?);
        let counters = Counter::all().filter_map(|counter| {
            // SAFETY: `envoy` by our caller's word.
            let id = unsafe { define(define_counter, envoy, &counter.name()) };
            Some((counter, id?))
        });
        let gauges = Gauge::ALL.into_iter().filter_map(|gauge| {
            // SAFETY: `envoy` by our caller's word.
            let id = unsafe { define(define_gauge, envoy, gauge.name()) };
            Some((gauge, id?))
        });
        let (counters, gauges) = (counters.collect(), gauges.collect());
        // SAFETY: `envoy` by our caller's word.
        let scheduler = Arc::new(unsafe { Scheduler::new(envoy) });
        // SAFETY: on the main thread, by our caller's word.
        let validating = unsafe { is_validation_mode() };
        let following = if validating {
            None
        } else {
            let outside = EnvoyOutside::new(Arc::clone(&scheduler));
            let started = follow::start(Arc::clone(&edge), policy_seen, outside);
            Some(started.map_err(|error| format!("cannot start a thread: {error}"))?)
        };
        Ok(Self {
            edge,
            counters,
            gauges,
            scheduler,
            _following: following,
        })
    }
}

/// Defines a metric without labels. `None`: Envoy does not, and then nothing is counted; requests are decided all the same.
///
/// # Safety
/// `envoy` is the configuration of the running `config_new` hook.
unsafe fn define(define: Define, envoy: EnvoyConfig, name: &str) -> Option<usize> {
    let mut id = 0;
    // SAFETY: `envoy` by our caller's word; `id` is ours, and there are no labels.
    let defined = unsafe { define(envoy, OurBytes::of(name), ptr::null_mut(), 0, &raw mut id) };
    (defined == SUCCESS).then_some(id)
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.scheduler.delete();
    }
}

/// What `hook` returns; `otherwise` if it panics.
fn guarded<T>(otherwise: T, hook: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(hook)).unwrap_or(otherwise)
}

/// Our part of a configuration or a filter.
///
/// # Safety
/// `ours` is null or what `config_new` returned, and the configuration is not destroyed during `'a`.
unsafe fn instance<'a>(ours: *const c_void) -> Option<&'a Instance> {
    // SAFETY: by the caller's word; it was made as a `Box<Instance>` and is only ever shared.
    unsafe { ours.cast::<Instance>().as_ref() }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    c"v0.2.0".as_ptr()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    envoy: EnvoyConfig,
    _name: EnvoyBytes,
    config: EnvoyBytes,
) -> OurConfig {
    guarded(ptr::null(), || {
        // SAFETY: Envoy lends the configuration until this hook returns.
        let text = unsafe { config.get() };
        // SAFETY: this is the hook, and Envoy calls it on its main thread.
        match unsafe { Instance::new(envoy, text) } {
            Ok(instance) => Box::into_raw(Box::new(instance)).cast_const().cast(),
            Err(errors) => {
                for error in errors.lines() {
                    log(Level::Error, error);
                }
                // Envoy refuses the configuration.
                ptr::null()
            }
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(ours: OurConfig) {
    guarded((), || {
        if !ours.is_null() {
            // SAFETY: made by `Box::into_raw` in `config_new`; Envoy calls this once, when no filter is left.
            drop(unsafe { Box::from_raw(ours.cast_mut().cast::<Instance>()) });
        }
    });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_scheduled(
    envoy: EnvoyConfig,
    ours: OurConfig,
    _event: u64,
) {
    guarded((), || {
        // SAFETY: Envoy's configuration and ours belong together, and live while this hook runs.
        let Some(instance) = (unsafe { instance(ours) }) else {
            return;
        };
        let values = instance.edge.gauges();
        for (gauge, id) in &instance.gauges {
            let value = values.iter().find(|(known, _)| known == gauge);
            if let Some((_, value)) = value {
                // SAFETY: Envoy gave the id for this configuration, and there are no labels.
                let _ = unsafe { set_gauge(envoy, *id, ptr::null_mut(), 0, *value) };
            }
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_new(ours: OurConfig, _envoy: EnvoyFilter) -> OurFilter {
    ours
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    filter: EnvoyFilter,
    ours: OurFilter,
    _end_of_stream: bool,
) -> u32 {
    // Whatever happens, the request does not go on.
    guarded(STOP_ITERATION, || {
        // SAFETY: `ours` is what `filter_new` returned, which is our part of the configuration; it outlives its filters.
        let Some(instance) = (unsafe { instance(ours) }) else {
            return STOP_ITERATION;
        };
        let mut host = EnvoyHost::new(filter, instance);
        match on_request(&instance.edge, &mut host) {
            Verdict::Continue => CONTINUE,
            Verdict::Answered => STOP_ITERATION,
        }
    })
}

/// Hooks that this filter has no part in. Envoy wants them all the same.
macro_rules! idle {
    ($($name:ident($($argument:ty),*) $(-> $answer:ident = $status:ident)?;)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name($(_: $argument),*) $(-> $answer)? {
            $($status)?
        }
    )*};
}

idle! {
    envoy_dynamic_module_on_http_filter_destroy(OurFilter);
    envoy_dynamic_module_on_http_filter_request_body(EnvoyFilter, OurFilter, bool) -> u32 = CONTINUE;
    envoy_dynamic_module_on_http_filter_request_trailers(EnvoyFilter, OurFilter) -> u32 = CONTINUE;
    envoy_dynamic_module_on_http_filter_response_headers(EnvoyFilter, OurFilter, bool) -> u32 = CONTINUE;
    envoy_dynamic_module_on_http_filter_response_body(EnvoyFilter, OurFilter, bool) -> u32 = CONTINUE;
    envoy_dynamic_module_on_http_filter_response_trailers(EnvoyFilter, OurFilter) -> u32 = CONTINUE;
    envoy_dynamic_module_on_http_filter_stream_complete(EnvoyFilter, OurFilter);
    envoy_dynamic_module_on_http_filter_http_callout_done(
        EnvoyFilter, OurFilter, u64, u32, *mut c_void, usize, *mut c_void, usize
    );
    envoy_dynamic_module_on_http_filter_http_stream_headers(
        EnvoyFilter, OurFilter, u64, *mut c_void, usize, bool
    );
    envoy_dynamic_module_on_http_filter_http_stream_data(
        EnvoyFilter, OurFilter, u64, *const c_void, usize, bool
    );
    envoy_dynamic_module_on_http_filter_http_stream_trailers(
        EnvoyFilter, OurFilter, u64, *mut c_void, usize
    );
    envoy_dynamic_module_on_http_filter_http_stream_complete(EnvoyFilter, OurFilter, u64);
    envoy_dynamic_module_on_http_filter_http_stream_reset(EnvoyFilter, OurFilter, u64, u32);
    envoy_dynamic_module_on_http_filter_scheduled(EnvoyFilter, OurFilter, u64);
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(EnvoyFilter, OurFilter);
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(EnvoyFilter, OurFilter);
}
