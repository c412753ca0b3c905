//! The only `unsafe` of this workspace. It is for memory-mapped files, a setting of the C library,
//! tensor memory, libtorch's threads, wide instructions, and CUDA's libraries.

use std::any::Any;
use std::ffi::{c_uint, c_void};
use std::fs::File;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use half::bf16;
use memmap2::Mmap;
use tch::{Device, Kind, Tensor};

use crate::error::PolicyError;

pub(crate) use cuda::{
    allow_tf32, cuda_driver, device_memory, has_torch_cuda, leave_cudnn_attention, load_torch_cuda,
};

/// Maps `path` read-only, so that loading a checkpoint does not first copy it into memory.
///
/// # Errors
///
/// [`PolicyError::Read`] naming the file.
#[expect(unsafe_code, reason = "memmap2 cannot rule out that another process truncates the file")]
pub(crate) fn map_file(path: &Path) -> Result<Mmap, PolicyError> {
    let read = |source| PolicyError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read)?;
    if file.metadata().map_err(read)?.len() == 0 {
        let reason = "it is empty; get it once more".to_owned();
        return Err(PolicyError::Corrupt { path: path.to_owned(), reason });
    }
    // SAFETY: the map is private to this process, read-only, and dropped before loading returns.
    // Changing a checkpoint in place while it is being loaded is undefined behavior, as for every
    // reader that maps; our own writer never does so: it renames a complete file into place.
    unsafe { Mmap::map(&file) }.map_err(read)
}

/// Gives free memory to the kernel. From then on, the C library keeps freed memory for this process
/// to use again. Returns whether it does.
///
/// By default glibc gives large blocks back to the kernel, which clears them again for the next
/// tensor. In training on a CPU that is a tenth to a fifth of the time. It is a setting of the whole
/// process, so programs decide about it; libraries leave it alone. Memory in use does not grow, but
/// the process keeps all memory that it had after the call. So call it after one-time work, such as
/// loading a model and building an optimizer. The optimizer moves the weights into buffers of its
/// own, and the small gaps that they leave are hard to use again.
///
/// `false` with another C library.
pub fn keep_freed_memory() -> bool {
    keep()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library has no safe interface")]
fn keep() -> bool {
    // SAFETY: both functions take numbers, may be called at any time and lock their own state.
    unsafe {
        libc::malloc_trim(0);
        libc::mallopt(libc::M_MMAP_MAX, 0) == 1 && libc::mallopt(libc::M_TRIM_THRESHOLD, -1) == 1
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep() -> bool {
    false
}

/// The NVIDIA driver as this process finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CudaDriver {
    /// The CUDA version that it supports, 1000 · major + 10 · minor.
    pub(crate) version: i64,
    /// Number of GPUs that this process may use, or the driver's error code.
    pub(crate) devices: Result<u32, i32>,
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod cuda {
    use std::ffi::{CStr, c_int, c_uint, c_void};
    use std::path::{Path, PathBuf};

    use super::CudaDriver;

    /// `CUDA_ERROR_NO_DEVICE`.
    const NO_DEVICE: c_int = 100;

    const TORCH_CUDA: &CStr = c"libtorch_cuda.so";

    /// `at::globalContext()`, a function of libtorch's CPU library.
    const GLOBAL_CONTEXT: &CStr = c"_ZN2at13globalContextEv";

    /// A library by name or path: one that the process has already, or loaded now for all others to use.
    #[expect(unsafe_code, reason = "the C library has no safe interface")]
    fn open(name: &CStr, flags: c_int) -> Result<*mut c_void, String> {
        // SAFETY: `name` is a C string. Loading runs the initializers of a library, which those of libtorch
        // and of NVIDIA's driver allow at any time. `dlerror` returns a C string that lives until the next
        // call on this thread, or null.
        unsafe {
            let handle = libc::dlopen(name.as_ptr(), flags);
            if !handle.is_null() {
                return Ok(handle);
            }
            let error = libc::dlerror();
            Err(if error.is_null() {
                format!("{} cannot be loaded", name.to_string_lossy())
            } else {
                CStr::from_ptr(error).to_string_lossy().into_owned()
            })
        }
    }

    #[expect(unsafe_code, reason = "the C library has no safe interface")]
    fn symbol(library: *mut c_void, name: &CStr) -> Option<*mut c_void> {
        // SAFETY: `name` is a C string, `library` a handle of `dlopen` or `RTLD_DEFAULT`.
        let found = unsafe { libc::dlsym(library, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    }

    pub(crate) fn has_torch_cuda() -> bool {
        open(TORCH_CUDA, libc::RTLD_LAZY | libc::RTLD_NOLOAD).is_ok()
    }

    pub(crate) fn load_torch_cuda() -> Result<(), String> {
        let flags = libc::RTLD_NOW | libc::RTLD_GLOBAL;
        let by_name = open(TORCH_CUDA, flags);
        // A program may find libtorch by other means than a run path of its own.
        let (Err(error), Some(folder)) = (&by_name, torch_folder()) else {
            return by_name.map(|_| ());
        };
        let path = folder.join("libtorch_cuda.so");
        if !path.exists() {
            return Err(format!("the libtorch in `{}` was built without CUDA", folder.display()));
        }
        match std::ffi::CString::new(path.as_os_str().as_encoded_bytes()) {
            Ok(path) => open(&path, flags).map(|_| ()),
            Err(_) => Err(error.clone()),
        }
    }

    /// Path of libtorch's CPU library.
    #[expect(unsafe_code, reason = "the C library has no safe interface")]
    fn torch_folder() -> Option<PathBuf> {
        let address = symbol(libc::RTLD_DEFAULT, GLOBAL_CONTEXT)?;
        let mut info = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
        // SAFETY: `dladdr` fills in `info` if it returns another number than 0; the name is then a C string
        // that lives as long as the library.
        let path = unsafe {
            if libc::dladdr(address, info.as_mut_ptr()) == 0 {
                return None;
            }
            CStr::from_ptr(info.assume_init().dli_fname)
        };
        Some(Path::new(path.to_str().ok()?).parent()?.to_owned())
    }

    pub(crate) fn leave_cudnn_attention() -> bool {
        set_context(c"_ZN2at7Context14setSDPUseCuDNNEb", false)
    }

    pub(crate) fn allow_tf32(allowed: bool) -> bool {
        set_context(c"_ZN2at7Context18setAllowTF32CuBLASEb", allowed)
    }

    /// Calls a setter of `at::Context` that takes a `bool`, by its mangled name; returns whether there is one.
    #[expect(unsafe_code, reason = "functions of C++, by their mangled names")]
    fn set_context(setter: &CStr, value: bool) -> bool {
        let find = |name| symbol(libc::RTLD_DEFAULT, name);
        let (Some(context), Some(set)) = (find(GLOBAL_CONTEXT), find(setter)) else {
            return false;
        };
        // SAFETY: these are `at::Context& at::globalContext()` and `void at::Context::NAME(bool)` of libtorch,
        // whose version tch checks at build time. On this platform a reference and `this` are passed as
        // pointers. The context lives as long as the process.
        unsafe {
            let context =
                std::mem::transmute::<*mut c_void, extern "C" fn() -> *mut c_void>(context);
            let set = std::mem::transmute::<*mut c_void, extern "C" fn(*mut c_void, bool)>(set);
            set(context(), value);
        }
        true
    }

    #[expect(unsafe_code, reason = "the interface of CUDA's runtime")]
    pub(crate) fn device_memory(index: usize) -> Option<(usize, usize)> {
        type Info = extern "C" fn(*mut usize, *mut usize) -> c_int;
        let find = |name| symbol(libc::RTLD_DEFAULT, name);
        let (get, set, info) =
            (find(c"cudaGetDevice")?, find(c"cudaSetDevice")?, find(c"cudaMemGetInfo")?);
        let wanted = c_int::try_from(index).ok()?;
        let (mut current, mut free, mut total): (c_int, usize, usize) = (0, 0, 0);
        // SAFETY: CUDA's runtime, which libtorch's CUDA library brings along, has had these functions with these
        // types since its first version. All pointers are to numbers that live longer than the calls. The
        // device that was current before is so afterwards.
        let is_read = unsafe {
            let get = std::mem::transmute::<*mut c_void, extern "C" fn(*mut c_int) -> c_int>(get);
            let set = std::mem::transmute::<*mut c_void, extern "C" fn(c_int) -> c_int>(set);
            let info = std::mem::transmute::<*mut c_void, Info>(info);
            let is_read = get(&raw mut current) == 0
                && set(wanted) == 0
                && info(&raw mut free, &raw mut total) == 0;
            set(current);
            is_read
        };
        is_read.then_some((free, total))
    }

    #[expect(unsafe_code, reason = "the interface of NVIDIA's driver")]
    pub(crate) fn cuda_driver() -> Result<CudaDriver, String> {
        let library = open(c"libcuda.so.1", libc::RTLD_NOW)?;
        let find = |name: &CStr| {
            symbol(library, name)
                .ok_or_else(|| format!("libcuda.so.1 has no {}", name.to_string_lossy()))
        };
        let (version_of, init, count) =
            (find(c"cuDriverGetVersion")?, find(c"cuInit")?, find(c"cuDeviceGetCount")?);
        let (mut version, mut devices): (c_int, c_int) = (0, 0);
        // SAFETY: the driver has had these functions with these types since its first version. Both
        // pointers are to numbers that live longer than the calls.
        let code = unsafe {
            type Get = extern "C" fn(*mut c_int) -> c_int;
            let version_of = std::mem::transmute::<*mut c_void, Get>(version_of);
            let init = std::mem::transmute::<*mut c_void, extern "C" fn(c_uint) -> c_int>(init);
            let count = std::mem::transmute::<*mut c_void, Get>(count);
            version_of(&raw mut version);
            match init(0) {
                0 => count(&raw mut devices),
                code => code,
            }
        };
        let devices = match code {
            0 => Ok(u32::try_from(devices).unwrap_or(0)),
            NO_DEVICE => Ok(0),
            code => Err(code),
        };
        Ok(CudaDriver { version: version.into(), devices })
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod cuda {
    use super::CudaDriver;

    const REASON: &str = "GPUs are implemented for Linux with glibc";

    pub(crate) fn has_torch_cuda() -> bool {
        false
    }

    pub(crate) fn load_torch_cuda() -> Result<(), String> {
        Err(REASON.to_owned())
    }

    pub(crate) fn leave_cudnn_attention() -> bool {
        false
    }

    pub(crate) fn allow_tf32(_allowed: bool) -> bool {
        false
    }

    pub(crate) fn device_memory(_index: usize) -> Option<(usize, usize)> {
        None
    }

    pub(crate) fn cuda_driver() -> Result<CudaDriver, String> {
        Err(REASON.to_owned())
    }
}

/// A type of numbers that tensors hold.
pub(crate) trait Element: Copy + Send + Sync {
    const KIND: Kind;
}

impl Element for f32 {
    const KIND: Kind = Kind::Float;
}

impl Element for i64 {
    const KIND: Kind = Kind::Int64;
}

impl Element for bf16 {
    const KIND: Kind = Kind::BFloat16;
}

/// The tensors that one operation reads and writes.
///
/// Tensors are handles, several of which may lead to the same memory. An operation asks one of these for all
/// of its tensors, which ensures that written memory does not overlap with any other.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Addresses, and whether they are written.
    taken: Vec<(Range<usize>, bool)>,
}

impl Memory {
    /// The elements of a contiguous tensor on a CPU.
    ///
    /// # Panics
    ///
    /// If it is another kind of tensor, or written memory overlaps with it.
    #[expect(unsafe_code, reason = "tch gives out no slices")]
    pub(crate) fn read<'a, T: Element>(&mut self, tensor: &'a Tensor) -> &'a [T] {
        let (start, len) = self.take::<T>(tensor, false);
        // SAFETY: `take` has checked that `len` elements of this type lie there, which live as long as the
        // handle, and that no slice of this operation that writes overlaps with them. Operations do not
        // hand slices out, and what libtorch does to the same tensors runs before or after them.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// As [`Self::read`], to be written.
    #[expect(unsafe_code, reason = "tch gives out no slices")]
    pub(crate) fn write<'a, T: Element>(&mut self, tensor: &'a mut Tensor) -> &'a mut [T] {
        let (start, len) = self.take::<T>(tensor, true);
        // SAFETY: as in `read`; no other slice of this operation overlaps with these elements.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    fn take<T: Element>(&mut self, tensor: &Tensor, writes: bool) -> (*mut T, usize) {
        assert_eq!(tensor.device(), Device::Cpu, "a tensor in the memory of this process");
        assert_eq!(tensor.kind(), T::KIND, "a tensor of this kind");
        assert!(tensor.is_contiguous(), "elements without gaps");
        let len = tensor.numel();
        if len == 0 {
            return (std::ptr::NonNull::dangling().as_ptr(), 0);
        }
        let start = tensor.data_ptr().cast::<T>();
        assert!(start.is_aligned() && !start.is_null(), "elements that exist");
        let range = start.addr()..start.addr() + len * size_of::<T>();
        for (other, written) in &self.taken {
            let apart = range.end <= other.start || other.end <= range.start;
            assert!(apart || !(writes || *written), "what is written is written alone");
        }
        self.taken.push((range, writes));
        (start, len)
    }
}

/// Runs `run` on a number of threads at once, and returns when all have returned. It must not matter how many
/// they are.
///
/// These are the threads of libtorch's own operations, where its `OpenMP` library has the interface of GCC's.
/// They wait for work by spinning, so that other threads would have to share the processor with them. Elsewhere
/// it is one thread.
///
/// # Panics
///
/// With the panic of one of them.
#[expect(unsafe_code, reason = "a C interface")]
pub(crate) fn on_threads(threads: usize, run: &(dyn Fn() + Sync)) {
    let Some(start) = threads.gt(&1).then_some(*START).flatten() else { return run() };
    let work = Work { run, panic: Mutex::new(None) };
    let data = std::ptr::from_ref(&work).cast_mut().cast();
    // SAFETY: the library calls `work_here` on each of its threads with `data`, and returns when all are done,
    // so that `work` outlives them. It is only read, except for the mutex.
    unsafe { start(work_here, data, c_uint::try_from(threads).unwrap_or(1), 0) };
    if let Some(panic) = work.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
        resume_unwind(panic);
    }
}

/// Argument of the threads of [`on_threads`].
struct Work<'a> {
    run: &'a (dyn Fn() + Sync),
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// `GOMP_parallel`: function, its argument, threads, flags.
type Start = unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);

/// The function of libtorch's `OpenMP` library that runs others on its threads.
static START: LazyLock<Option<Start>> = LazyLock::new(find_start);

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "a C interface")]
fn find_start() -> Option<Start> {
    // SAFETY: the name is a C string. A function of this name has this type in every `OpenMP` library.
    unsafe {
        let found = libc::dlsym(libc::RTLD_DEFAULT, c"GOMP_parallel".as_ptr());
        (!found.is_null()).then(|| std::mem::transmute::<*mut c_void, Start>(found))
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn find_start() -> Option<Start> {
    None
}

#[expect(unsafe_code, reason = "called by C")]
extern "C" fn work_here(data: *mut c_void) {
    // SAFETY: `on_threads` passes a pointer to a `Work` that lives until all threads are done.
    let work = unsafe { &*data.cast_const().cast::<Work<'_>>() };
    // A panic must not pass through C.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work.run)) {
        *work.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
    }
}

/// Something to compute.
pub(crate) trait Job {
    /// Computes it. To be marked `#[inline(always)]`, as everything that it calls in its loops.
    fn run(self);
}

/// Runs a job compiled for the widest instructions of this processor, which work on up to sixteen numbers at
/// a time. The numbers are the same.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the compiler cannot know the processor")]
pub(crate) fn vectorized(job: impl Job) {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn with_avx512(job: impl Job) {
        job.run();
    }
    #[target_feature(enable = "avx2,fma")]
    fn with_avx2(job: impl Job) {
        job.run();
    }
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    if avx512 {
        // SAFETY: the processor has these instructions.
        unsafe { with_avx512(job) }
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has these instructions.
        unsafe { with_avx2(job) }
    } else {
        job.run();
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn vectorized(job: impl Job) {
    job.run();
}

/// Bytes that a processor fetches at once.
const LINE: usize = 64;

/// Asks the processor to fetch `values` into its nearest cache while it computes with others.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "an instruction that takes an address")]
#[inline(always)]
pub(crate) fn prefetch<T: Element>(values: &[T]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for line in values.chunks(LINE / size_of::<T>()) {
        // SAFETY: every processor of this architecture has the instruction. It reads and writes nothing that a program
        // can see, at any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn prefetch<T: Element>(_: &[T]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "what is written is written alone")]
    fn what_is_read_is_not_written_by_the_same_operation() {
        let read = Tensor::zeros([8], (Kind::Float, Device::Cpu));
        let mut written = read.narrow(0, 7, 1);
        let mut memory = Memory::default();
        let _ = memory.read::<f32>(&read);
        let _ = memory.write::<f32>(&mut written);
    }

    #[test]
    fn neighbors_and_what_is_only_read_may_touch() {
        let whole = Tensor::arange(8, (Kind::Float, Device::Cpu));
        let mut second = whole.narrow(0, 4, 4);
        let first = whole.narrow(0, 0, 4);
        let mut memory = Memory::default();
        assert_eq!(memory.read::<f32>(&first), memory.read::<f32>(&first));
        memory.write::<f32>(&mut second)[0] = 9.0;
        assert_eq!(whole.double_value(&[4]), 9.0);
    }

    #[test]
    #[should_panic(expected = "elements without gaps")]
    fn a_column_is_no_slice() {
        let column = Tensor::zeros([8, 2], (Kind::Float, Device::Cpu)).narrow(1, 0, 1);
        let _ = Memory::default().read::<f32>(&column);
    }

    #[test]
    fn a_panic_on_a_thread_is_passed_on_after_the_others_are_done() {
        let calls = Mutex::new(0);
        let run = || {
            let number = {
                let mut calls = calls.lock().unwrap();
                *calls += 1;
                *calls
            };
            assert!(number != 1, "the first one");
        };
        let caught = catch_unwind(AssertUnwindSafe(|| on_threads(3, &run)));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"the first one"));
        let done = *calls.lock().unwrap();
        assert_eq!(done, if START.is_some() { 3 } else { 1 });
    }
}
