//! The only `unsafe` of this crate: calls of `native/c10d.cpp`, which wraps the store and the groups of libtorch.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tch::Tensor;

use crate::collective::Operation;
use crate::error::CollectiveError;

/// Room for the text of an error.
const ERROR_LEN: usize = 1024;
/// Room for the values that one call of a store returns.
const VALUES_LEN: usize = 1 << 16;

const DONE: c_int = 0;
const PENDING: c_int = 1;

/// The library that the build script makes of `native/nccl.cpp`. `native/c10d.cpp` loads it from these bytes.
#[cfg(feature = "nccl")]
const NCCL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libhint_nccl.so"));

type CTensor = c_void;

#[expect(unsafe_code, reason = "C has no safe interface")]
// SAFETY: the declarations repeat those of `native/c10d.cpp`, which the build script compiles into this crate.
unsafe extern "C" {
    fn hint_store_open(
        host: *const c_char,
        port: u16,
        serves: c_int,
        prefix: *const c_char,
        timeout_ms: i64,
        out: *mut *mut c_void,
        text: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn hint_store_close(store: *mut c_void);
    fn hint_store_set_timeout(
        store: *mut c_void,
        timeout_ms: i64,
        text: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn hint_store_set(
        store: *mut c_void,
        key: *const c_char,
        value: *const c_char,
        len: usize,
        text: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn hint_store_get(
        store: *mut c_void,
        key: *const c_char,
        out: *mut c_char,
        out_capacity: usize,
        len: *mut usize,
        text: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn hint_store_put_first(
        store: *mut c_void,
        key: *const c_char,
        value: *const c_char,
        len: usize,
        out: *mut c_char,
        out_capacity: usize,
        out_len: *mut usize,
        text: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn hint_store_add(
        store: *mut c_void,
        key: *const c_char,
        amount: i64,
        result: *mut i64,
        text: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn hint_gloo_open(
        store: *mut c_void,
        rank: c_int,
        world_size: c_int,
        host: *const c_char,
        timeout_ms: i64,
        out: *mut *mut c_void,
        text: *mut c_char,
        capacity: usize,
    ) -> c_int;
    #[cfg(feature = "nccl")]
    fn hint_nccl_identify(
        image: *const c_char,
        len: usize,
        device: c_int,
        out: *mut c_char,
        text: *mut c_char,
        capacity: usize,
    ) -> c_int;
    #[cfg(feature = "nccl")]
    fn hint_nccl_open(
        image: *const c_char,
        len: usize,
        store: *mut c_void,
        rank: c_int,
        world_size: c_int,
        device: c_int,
        timeout_ms: i64,
        out: *mut *mut c_void,
        text: *mut c_char,
        capacity: usize,
    ) -> c_int;
    #[cfg(feature = "nccl")]
    fn hint_nccl_id(
        image: *const c_char,
        len: usize,
        out: *mut c_char,
        text: *mut c_char,
        capacity: usize,
    ) -> c_int;
    #[cfg(feature = "nccl")]
    fn hint_nccl_join(
        image: *const c_char,
        len: usize,
        id: *const c_char,
        rank: c_int,
        world_size: c_int,
        device: c_int,
        timeout_ms: i64,
        out: *mut *mut c_void,
        text: *mut c_char,
        capacity: usize,
    ) -> c_int;
    #[cfg(feature = "nccl")]
    fn hint_group_abort(group: *mut c_void, text: *mut c_char, capacity: usize) -> c_int;
    #[cfg(feature = "nccl")]
    fn hint_group_shutdown(group: *mut c_void, text: *mut c_char, capacity: usize) -> c_int;
    #[cfg(feature = "nccl")]
    fn hint_work_poll(
        work: *mut c_void,
        timeout_ms: i64,
        text: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn hint_group_close(group: *mut c_void);
    fn hint_group_start(
        group: *mut c_void,
        operation: c_int,
        output: *const CTensor,
        input: *const CTensor,
        root: c_int,
        work: *mut *mut c_void,
        text: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn hint_work_wait(
        work: *mut c_void,
        timeout_ms: i64,
        text: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn hint_work_close(work: *mut c_void);
}

/// Calls a function of the C side, which may put the text of an error into the buffer that it gets. Returns whether
/// it is done; not if it is pending.
fn call(
    action: &str,
    function: impl FnOnce(*mut c_char, usize) -> c_int,
) -> Result<bool, CollectiveError> {
    let mut text = [0_u8; ERROR_LEN];
    match function(text.as_mut_ptr().cast(), ERROR_LEN) {
        DONE => Ok(true),
        PENDING => Ok(false),
        _ => {
            let end = text.iter().position(|byte| *byte == 0).unwrap_or(ERROR_LEN);
            Err(CollectiveError::backend(action, String::from_utf8_lossy(&text[..end])))
        }
    }
}

fn c_string(text: &str) -> Result<CString, CollectiveError> {
    let invalid = |_| CollectiveError::Rendezvous(format!("`{text:?}` has a zero byte"));
    CString::new(text).map_err(invalid)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A client of a key-value store that the processes of a group share.
#[derive(Debug)]
pub(crate) struct Store(*mut c_void);

#[expect(unsafe_code, reason = "a raw pointer has no owner that the compiler knows")]
// SAFETY: the store is owned by this value alone, and c10d's stores may be used from any thread.
unsafe impl Send for Store {}

impl Store {
    /// Connects to the store at `host:port`, within `timeout`. This process serves it if `serves` says so.
    #[expect(unsafe_code, reason = "C has no safe interface")]
    pub(crate) fn open(
        host: &str,
        port: u16,
        serves: bool,
        prefix: &str,
        timeout: Duration,
    ) -> Result<Self, CollectiveError> {
        let (name, prefix) = (c_string(host)?, c_string(prefix)?);
        let mut store = null_mut();
        call("connect to the store", |text, capacity| {
            // SAFETY: all pointers are valid during the call; the store is owned by the value returned below.
            unsafe {
                hint_store_open(
                    name.as_ptr(),
                    port,
                    c_int::from(serves),
                    prefix.as_ptr(),
                    millis(timeout),
                    &raw mut store,
                    text,
                    capacity,
                )
            }
        })?;
        Ok(Self(store))
    }

    /// Bounds every later call.
    #[expect(unsafe_code, reason = "C has no safe interface")]
    pub(crate) fn set_timeout(&self, timeout: Duration) -> Result<(), CollectiveError> {
        // SAFETY: the store is open as long as this value lives.
        let set = |text, capacity| unsafe {
            hint_store_set_timeout(self.0, millis(timeout), text, capacity)
        };
        call("bound the store", set).map(|_| ())
    }

    #[expect(unsafe_code, reason = "C has no safe interface")]
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<(), CollectiveError> {
        let key = c_string(key)?;
        call("write to the store", |text, capacity| {
            let (data, len) = (value.as_ptr().cast(), value.len());
            // SAFETY: the store is open, and all pointers are valid during the call.
            unsafe { hint_store_set(self.0, key.as_ptr(), data, len, text, capacity) }
        })
        .map(|_| ())
    }

    /// The value of a key, if there is one.
    #[expect(unsafe_code, reason = "C has no safe interface")]
    pub(crate) fn get(&self, key: &str) -> Result<Option<String>, CollectiveError> {
        let key = c_string(key)?;
        values(|out, room, len| {
            call("read the store", |text, capacity| {
                // SAFETY: the store is open, all pointers are valid during the call, and `out` has `room` bytes.
                unsafe { hint_store_get(self.0, key.as_ptr(), out, room, len, text, capacity) }
            })
        })
    }

    /// Gives a key its first value that is not empty, and returns the one that it has.
    #[expect(unsafe_code, reason = "C has no safe interface")]
    pub(crate) fn put_first(&self, key: &str, value: &str) -> Result<String, CollectiveError> {
        let key = c_string(key)?;
        let put = values(|out, room, out_len| {
            call("write to the store", |text, capacity| {
                let (data, len) = (value.as_ptr().cast(), value.len());
                // SAFETY: as above.
                unsafe {
                    hint_store_put_first(
                        self.0,
                        key.as_ptr(),
                        data,
                        len,
                        out,
                        room,
                        out_len,
                        text,
                        capacity,
                    )
                }
            })
        })?;
        Ok(put.unwrap_or_default())
    }

    /// Adds to a counter, and returns it.
    #[expect(unsafe_code, reason = "C has no safe interface")]
    pub(crate) fn add(&self, key: &str, amount: i64) -> Result<i64, CollectiveError> {
        let key = c_string(key)?;
        let mut result = 0;
        call("count in the store", |text, capacity| {
            // SAFETY: the store is open, and all pointers are valid during the call.
            unsafe { hint_store_add(self.0, key.as_ptr(), amount, &raw mut result, text, capacity) }
        })?;
        Ok(result)
    }
}

impl Drop for Store {
    #[expect(unsafe_code, reason = "C has no safe interface")]
    fn drop(&mut self) {
        // SAFETY: the store is open, and nothing uses it after this.
        unsafe { hint_store_close(self.0) }
    }
}

/// The value that `read` puts into a buffer.
fn values(
    read: impl FnOnce(*mut c_char, usize, *mut usize) -> Result<bool, CollectiveError>,
) -> Result<Option<String>, CollectiveError> {
    let (mut buffer, mut len) = (vec![0_u8; VALUES_LEN], 0);
    if !read(buffer.as_mut_ptr().cast(), VALUES_LEN, &raw mut len)? {
        return Ok(None);
    }
    buffer.truncate(len);
    Ok(Some(String::from_utf8_lossy(&buffer).into_owned()))
}

/// Loads the library with the NCCL group. Returns the bytes that no other GPU than `device` has.
#[cfg(feature = "nccl")]
#[expect(unsafe_code, reason = "C has no safe interface")]
pub(crate) fn identify_gpu(device: usize) -> Result<[u8; 16], CollectiveError> {
    let device = small(device)?;
    let mut found = [0_u8; 16];
    call("load NCCL", |text, capacity| {
        let (image, len) = (NCCL.as_ptr().cast(), NCCL.len());
        // SAFETY: all pointers are valid during the call, and `found` has the 16 bytes that it writes.
        unsafe { hint_nccl_identify(image, len, device, found.as_mut_ptr().cast(), text, capacity) }
    })?;
    Ok(found)
}

/// Bytes of the id of a group that is made without a store.
#[cfg(feature = "nccl")]
pub(crate) const ID_LEN: usize = 128;

/// The id of a new group, which [`Group::join_nccl`] takes.
#[cfg(feature = "nccl")]
#[expect(unsafe_code, reason = "C has no safe interface")]
pub(crate) fn new_nccl_id() -> Result<[u8; ID_LEN], CollectiveError> {
    let mut id = [0_u8; ID_LEN];
    call("make an id of NCCL", |text, capacity| {
        let (image, len) = (NCCL.as_ptr().cast(), NCCL.len());
        // SAFETY: all pointers are valid during the call, and `id` has the 128 bytes that it writes.
        unsafe { hint_nccl_id(image, len, id.as_mut_ptr().cast(), text, capacity) }
    })?;
    Ok(id)
}

/// A number of ranks or devices, as C has it.
fn small(number: usize) -> Result<c_int, CollectiveError> {
    let too_large = |_| CollectiveError::Rendezvous(format!("{number} is no rank"));
    c_int::try_from(number).map_err(too_large)
}

/// A group of Gloo or NCCL.
#[derive(Debug)]
pub(crate) struct Group {
    group: *mut c_void,
    /// One thread at a time starts operations.
    starts: Mutex<()>,
}

#[expect(unsafe_code, reason = "a raw pointer has no owner that the compiler knows")]
// SAFETY: the group is owned by this value alone, and c10d's groups may be used from any thread.
unsafe impl Send for Group {}

#[cfg(feature = "nccl")]
#[expect(unsafe_code, reason = "a raw pointer has no owner that the compiler knows")]
// SAFETY: `starts` lets one thread at a time start operations. c10d's groups are aborted from a thread of their own
// while others start and wait, so that may happen at any time.
unsafe impl Sync for Group {}

impl Group {
    /// The group that `make` puts into its first argument. The others are those of [`call`].
    fn made(
        action: &str,
        make: impl FnOnce(*mut *mut c_void, *mut c_char, usize) -> c_int,
    ) -> Result<Self, CollectiveError> {
        let mut group = null_mut();
        call(action, |text, capacity| make(&raw mut group, text, capacity))?;
        Ok(Self { group, starts: Mutex::new(()) })
    }

    /// Connects to all other ranks, which meet in `store`.
    #[expect(unsafe_code, reason = "C has no safe interface")]
    pub(crate) fn open(
        store: &Store,
        rank: usize,
        world_size: usize,
        host: &str,
        timeout: Duration,
    ) -> Result<Self, CollectiveError> {
        let (rank, world_size, host) = (small(rank)?, small(world_size)?, c_string(host)?);
        Self::made("connect to the other ranks", |group, text, capacity| {
            // SAFETY: the store is open, all pointers are valid during the call, and the group keeps a counted
            // reference to the store.
            unsafe {
                hint_gloo_open(
                    store.0,
                    rank,
                    world_size,
                    host.as_ptr(),
                    millis(timeout),
                    group,
                    text,
                    capacity,
                )
            }
        })
    }

    /// Connects the GPU `device` to those of all other ranks, which meet in `store`.
    #[cfg(feature = "nccl")]
    #[expect(unsafe_code, reason = "C has no safe interface")]
    pub(crate) fn open_nccl(
        store: &Store,
        rank: usize,
        world_size: usize,
        device: usize,
        timeout: Duration,
    ) -> Result<Self, CollectiveError> {
        let (rank, world_size, device) = (small(rank)?, small(world_size)?, small(device)?);
        Self::made("connect to the other GPUs", |group, text, capacity| {
            // SAFETY: the store is open, all pointers are valid during the call, and the group keeps a counted
            // reference to the store.
            unsafe {
                hint_nccl_open(
                    NCCL.as_ptr().cast(),
                    NCCL.len(),
                    store.0,
                    rank,
                    world_size,
                    device,
                    millis(timeout),
                    group,
                    text,
                    capacity,
                )
            }
        })
    }

    /// Connects the GPU `device` to those of all other ranks, which have the same `id`. Each wait of this call is bounded by
    /// `timeout`. Starting an operation later waits for nobody.
    #[cfg(feature = "nccl")]
    #[expect(unsafe_code, reason = "C has no safe interface")]
    pub(crate) fn join_nccl(
        id: &[u8; ID_LEN],
        rank: usize,
        world_size: usize,
        device: usize,
        timeout: Duration,
    ) -> Result<Self, CollectiveError> {
        let (rank, world_size, device) = (small(rank)?, small(world_size)?, small(device)?);
        Self::made("connect to the GPUs of another program", |group, text, capacity| {
            // SAFETY: all pointers are valid during the call, `id` has the 128 bytes that it reads, and the group is
            // owned by the value returned below.
            unsafe {
                hint_nccl_join(
                    NCCL.as_ptr().cast(),
                    NCCL.len(),
                    id.as_ptr().cast(),
                    rank,
                    world_size,
                    device,
                    millis(timeout),
                    group,
                    text,
                    capacity,
                )
            }
        })
    }

    /// Ends all operations of this rank. Others may wait for them at the same time.
    #[cfg(feature = "nccl")]
    #[expect(unsafe_code, reason = "C has no safe interface")]
    pub(crate) fn abort(&self) -> Result<(), CollectiveError> {
        // SAFETY: the group is open.
        let abort = |text, capacity| unsafe { hint_group_abort(self.group, text, capacity) };
        call("abort the group", abort).map(|_| ())
    }

    /// Leaves the group, whose operations are done.
    #[cfg(feature = "nccl")]
    #[expect(unsafe_code, reason = "C has no safe interface")]
    pub(crate) fn shutdown(&self) -> Result<(), CollectiveError> {
        // SAFETY: the group is open.
        let leave = |text, capacity| unsafe { hint_group_shutdown(self.group, text, capacity) };
        call("leave the group", leave).map(|_| ())
    }

    /// Starts an operation on contiguous tensors: of the CPU with Gloo, of the group's GPU with NCCL.
    #[expect(unsafe_code, reason = "C has no safe interface")]
    pub(crate) fn start(
        &self,
        operation: Operation,
        output: &Tensor,
        input: &Tensor,
        root: usize,
    ) -> Result<Work, CollectiveError> {
        let (number, root) = (operation as c_int, c_int::try_from(root).unwrap_or(c_int::MAX));
        let mut work = null_mut();
        let _one = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        call(operation.name(), |text, capacity| {
            let (output, input) = (output.as_ptr().cast(), input.as_ptr().cast());
            // SAFETY: the group is open, and tch's tensors are pointers to `at::Tensor`. The operation keeps counted
            // references to them, so that their memory lives until it is done.
            unsafe {
                hint_group_start(
                    self.group,
                    number,
                    output,
                    input,
                    root,
                    &raw mut work,
                    text,
                    capacity,
                )
            }
        })?;
        Ok(Work(work))
    }
}

impl Drop for Group {
    #[expect(unsafe_code, reason = "C has no safe interface")]
    fn drop(&mut self) {
        // SAFETY: the group is open, and nothing uses it after this.
        unsafe { hint_group_close(self.group) }
    }
}

/// An operation under way.
#[derive(Debug)]
pub(crate) struct Work(*mut c_void);

#[cfg(feature = "nccl")]
#[expect(unsafe_code, reason = "a raw pointer has no owner that the compiler knows")]
// SAFETY: the operation is owned by this value alone, and c10d's operations may be asked from any thread.
unsafe impl Send for Work {}

impl Work {
    /// Whether it is done within `timeout`.
    #[expect(unsafe_code, reason = "C has no safe interface")]
    pub(crate) fn wait(&self, timeout: Duration) -> Result<bool, CollectiveError> {
        call("carry out the operation", |text, capacity| {
            // SAFETY: the operation is there as long as this value lives.
            unsafe { hint_work_wait(self.0, millis(timeout), text, capacity) }
        })
    }

    /// As [`Self::wait`], for an operation of GPUs.
    #[cfg(feature = "nccl")]
    #[expect(unsafe_code, reason = "C has no safe interface")]
    pub(crate) fn poll(&self, timeout: Duration) -> Result<bool, CollectiveError> {
        call("carry out the operation", |text, capacity| {
            // SAFETY: the operation is there as long as this value lives.
            unsafe { hint_work_poll(self.0, millis(timeout), text, capacity) }
        })
    }
}

impl Drop for Work {
    #[expect(unsafe_code, reason = "C has no safe interface")]
    fn drop(&mut self) {
        // SAFETY: nothing uses this reference after this; libtorch keeps its own while the operation runs.
        unsafe { hint_work_close(self.0) }
    }
}
