//! Envoy's side: the hooks that it calls and the callbacks that it offers, ABI v0.2.0 of dynamic modules, as far as this
//! filter uses them. The only file with unsafe code; the types of the ABI do not leave it.
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

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use decision::Field;
use decision::policy::{self, Watch};

use crate::config::Config;
use crate::filter::{Verdict, on_request};
use crate::follow::{self, Following};
use crate::host::{Answer, Attribute, Host, Level, Outside};
use crate::metrics::{Counter, Gauge};
use crate::world::Edge;

// ---- the types of the ABI ----------------------------------------------------------------------------------------

type EnvoyConfig = *mut c_void;
type EnvoyFilter = *mut c_void;
type EnvoyScheduler = *mut c_void;
type OurConfig = *const c_void;
type OurFilter = *const c_void;

/// Bytes that Envoy lends.
#[repr(C)]
#[derive(Clone, Copy)]
struct EnvoyBytes {
    start: *const c_char,
    length: usize,
}

impl EnvoyBytes {
    const NONE: Self = Self {
        start: ptr::null(),
        length: 0,
    };

    /// The bytes.
    ///
    /// # Safety
    /// Envoy filled this in, and lends the bytes for all of `'a`.
    unsafe fn get<'a>(self) -> &'a [u8] {
        if self.start.is_null() || self.length == 0 {
            return &[];
        }
        // SAFETY: not null, and by the caller's word these bytes are there for `'a` and nobody changes them.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.length) }
    }
}

/// Bytes that we lend for the time of one callback.
#[repr(C)]
#[derive(Clone, Copy)]
struct OurBytes {
    start: *const c_char,
    length: usize,
}

impl OurBytes {
    /// What Envoy takes for "remove".
    const NONE: Self = Self {
        start: ptr::null(),
        length: 0,
    };

    fn of(text: &str) -> Self {
        Self {
            start: text.as_ptr().cast(),
            length: text.len(),
        }
    }
}

/// A header that we lend.
#[repr(C)]
struct OurHeader {
    name: OurBytes,
    value: OurBytes,
}

/// How a kind of metric is defined.
type Define = unsafe extern "C" fn(EnvoyConfig, OurBytes, *mut OurBytes, usize, *mut usize) -> u32;

const REQUEST_HEADERS: u32 = 0;
const CONTINUE: u32 = 0;
const STOP_ITERATION: u32 = 1;
/// Of the metrics' results.
const SUCCESS: u32 = 0;
/// What the scheduled event is about; there is only one.
const SHOW_GAUGES: u64 = 1;

// ---- callbacks: implemented by Envoy, found in its executable when this library is loaded ----------------------------

// SAFETY: the signatures are those of Envoy 1.40's `abi.h`; each was called in its released executable.
unsafe extern "C" {
    #[link_name = "envoy_dynamic_module_callback_http_get_header"]
    fn get_header(
        filter: EnvoyFilter,
        kind: u32,
        name: OurBytes,
        value: *mut EnvoyBytes,
        index: usize,
        count: *mut usize,
    ) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_filter_get_attribute_string"]
    fn get_attribute_string(filter: EnvoyFilter, attribute: u32, value: *mut EnvoyBytes) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_set_header"]
    fn put_header(filter: EnvoyFilter, kind: u32, name: OurBytes, value: OurBytes) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_clear_route_cache"]
    fn clear_route_cache(filter: EnvoyFilter);
    #[link_name = "envoy_dynamic_module_callback_http_send_response"]
    fn send_response(
        filter: EnvoyFilter,
        status: u32,
        headers: *mut OurHeader,
        headers_length: usize,
        body: OurBytes,
        details: OurBytes,
    );
    #[link_name = "envoy_dynamic_module_callback_http_set_dynamic_metadata_string"]
    fn put_metadata(filter: EnvoyFilter, namespace: OurBytes, key: OurBytes, value: OurBytes);
    #[link_name = "envoy_dynamic_module_callback_http_filter_increment_counter"]
    fn increment_counter(
        filter: EnvoyFilter,
        id: usize,
        labels: *mut OurBytes,
        labels_length: usize,
        by: u64,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_define_counter"]
    fn define_counter(
        config: EnvoyConfig,
        name: OurBytes,
        labels: *mut OurBytes,
        labels_length: usize,
        id: *mut usize,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_define_gauge"]
    fn define_gauge(
        config: EnvoyConfig,
        name: OurBytes,
        labels: *mut OurBytes,
        labels_length: usize,
        id: *mut usize,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_set_gauge"]
    fn set_gauge(
        config: EnvoyConfig,
        id: usize,
        labels: *mut OurBytes,
        labels_length: usize,
        value: u64,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_scheduler_new"]
    fn scheduler_new(config: EnvoyConfig) -> EnvoyScheduler;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_scheduler_commit"]
    fn scheduler_commit(scheduler: EnvoyScheduler, event: u64);
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_scheduler_delete"]
    fn scheduler_delete(scheduler: EnvoyScheduler);
    #[link_name = "envoy_dynamic_module_callback_log"]
    fn write_log(level: u32, line: OurBytes);
    #[link_name = "envoy_dynamic_module_callback_is_validation_mode"]
    fn is_validation_mode() -> bool;
}

// ---- one configuration of the filter ---------------------------------------------------------------------------------

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
        let edge = Arc::new(Edge::new(config, policy)?);
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
        let scheduler = unsafe { scheduler_new(envoy) };
        let scheduler = Arc::new(Scheduler(Mutex::new(scheduler)));
        // SAFETY: on the main thread, by our caller's word.
        let validating = unsafe { is_validation_mode() };
        let following = if validating {
            None
        } else {
            let outside = EnvoyOutside(Arc::clone(&scheduler));
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

/// Has Envoy's main thread call `config_scheduled`, from any thread.
struct Scheduler(Mutex<EnvoyScheduler>);

// SAFETY: Envoy takes `commit` from any thread, and this is all that is done from others than Envoy's own; the mutex keeps
// it from a scheduler that is being deleted.
unsafe impl Send for Scheduler {}
// SAFETY: as above.
unsafe impl Sync for Scheduler {}

impl Scheduler {
    fn commit(&self) {
        let scheduler = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !scheduler.is_null() {
            // SAFETY: made by `scheduler_new` and not deleted, since it is not null; any thread may.
            unsafe { scheduler_commit(*scheduler, SHOW_GAUGES) };
        }
    }

    /// Once; afterwards nothing is scheduled.
    fn delete(&self) {
        let mut scheduler = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *scheduler, ptr::null_mut());
        if !old.is_null() {
            // SAFETY: made by `scheduler_new`, and nobody can have it any more.
            unsafe { scheduler_delete(old) };
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // Where the instance did not come to be.
        self.delete();
    }
}

struct EnvoyOutside(Arc<Scheduler>);

impl Outside for EnvoyOutside {
    fn log(&self, level: Level, line: &str) {
        log(level, line);
    }

    fn show_gauges(&self) {
        self.0.commit();
    }
}

fn log(level: Level, line: &str) {
    let level = match level {
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    };
    let line = format!("tenant-router: {line}");
    // SAFETY: Envoy's log takes lines from any thread.
    unsafe { write_log(level, OurBytes::of(&line)) };
}

// ---- one request -----------------------------------------------------------------------------------------------------

/// The request of the running hook.
struct EnvoyHost<'i> {
    filter: EnvoyFilter,
    instance: &'i Instance,
    answered: bool,
}

impl Host for EnvoyHost<'_> {
    fn header(&self, name: &str) -> Field<'_> {
        let (mut value, mut count) = (EnvoyBytes::NONE, 0);
        // SAFETY: `filter` is the running hook's; `value` and `count` are ours.
        let found = unsafe {
            get_header(
                self.filter,
                REQUEST_HEADERS,
                OurBytes::of(name),
                &raw mut value,
                0,
                &raw mut count,
            )
        };
        match count {
            0 => Field::Absent,
            // SAFETY: Envoy filled `value` in; what is returned borrows `self`, which has to be borrowed anew for any
            // change, and ends with the hook.
            1 if found => Field::One(unsafe { value.get() }),
            _ => Field::Repeated,
        }
    }

    fn attribute(&self, attribute: Attribute) -> &[u8] {
        let mut value = EnvoyBytes::NONE;
        // SAFETY: `filter` is the running hook's; `value` is ours.
        let found = unsafe { get_attribute_string(self.filter, attribute.number(), &raw mut value) };
        if found {
            // SAFETY: as for a header.
            unsafe { value.get() }
        } else {
            &[]
        }
    }

    fn set_header(&mut self, name: &str, value: &str) -> bool {
        // SAFETY: `filter` is the running hook's; Envoy copies both.
        unsafe {
            put_header(
                self.filter,
                REQUEST_HEADERS,
                OurBytes::of(name),
                OurBytes::of(value),
            )
        }
    }

    fn remove_header(&mut self, name: &str) -> bool {
        // SAFETY: as above.
        unsafe { put_header(self.filter, REQUEST_HEADERS, OurBytes::of(name), OurBytes::NONE) }
    }

    fn clear_route_cache(&mut self) {
        // SAFETY: `filter` is the running hook's.
        unsafe { clear_route_cache(self.filter) };
    }

    fn respond(&mut self, answer: &Answer<'_>) {
        // A second answer would be a bug, on the way out of another one.
        if std::mem::replace(&mut self.answered, true) {
            return;
        }
        let mut headers: Vec<OurHeader> = answer
            .headers
            .iter()
            .map(|(name, value)| OurHeader {
                name: OurBytes::of(name),
                value: OurBytes::of(value),
            })
            .collect();
        // SAFETY: `filter` is the running hook's; Envoy copies headers, body and details before it returns.
        unsafe {
            send_response(
                self.filter,
                u32::from(answer.status),
                headers.as_mut_ptr(),
                headers.len(),
                OurBytes::of(answer.body),
                OurBytes::of(answer.details),
            );
        }
    }

    fn note(&mut self, key: &str, value: &str) {
        // SAFETY: `filter` is the running hook's; Envoy copies all of it.
        unsafe {
            put_metadata(
                self.filter,
                OurBytes::of("alphaswarm"),
                OurBytes::of(key),
                OurBytes::of(value),
            );
        }
    }

    fn count(&mut self, counter: Counter) {
        let known = self.instance.counters.iter().find(|(known, _)| *known == counter);
        if let Some((_, id)) = known {
            // SAFETY: `filter` is the running hook's; Envoy gave the id for its configuration, and there are no labels.
            // What cannot be counted is no reason to refuse a request.
            let _ = unsafe { increment_counter(self.filter, *id, ptr::null_mut(), 0, 1) };
        }
    }
}

// ---- hooks: called by Envoy --------------------------------------------------------------------------------------------

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
        let mut host = EnvoyHost {
            filter,
            instance,
            answered: false,
        };
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
