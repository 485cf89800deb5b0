//! The sums of a signature, in a table to find them by, and the comparing of contents with them.
//!
//! Guarantees that the library is called as its header demands, that what it holds is freed whatever fails, and that memory is
//! bounded by the signature and by what is given to it at once. Leaves to others what a signature may be ([`compute`](super::compute)).
//! The Rust crate can compare only one content with what it has loaded; to load it again for each segment of a file would take
//! longer than the comparing.

use std::io;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use librsync_sys as sys;

use super::{DELTA_BEGIN, DELTA_END, DeltaError, INPUT_BYTES, PIECE_BYTES, silence};

/// A loaded signature. Not to be shared: the library counts in it what it looks up.
#[derive(Debug)]
pub(super) struct Sums(NonNull<sys::rs_signature_t>);

impl Sums {
    /// Loads a signature that was checked.
    pub(super) fn load(signature: &[u8]) -> Result<Sums, DeltaError> {
        silence();
        let mut sums = ptr::null_mut();
        #[allow(unsafe_code)]
        // SAFETY: writes a pointer to where it is told, of something that a job never frees and `Sums` frees once.
        let job = unsafe { sys::rs_loadsig_begin(&raw mut sums) };
        let sums = NonNull::new(sums).map(Sums).ok_or_else(out_of_memory)?;
        let mut job = Job::new(job)?;
        match job.iterate(signature, true, &mut []) {
            (sys::RS_DONE, 0, _) => {}
            (code, ..) => return Err(failed(code)),
        }
        #[allow(unsafe_code)]
        // SAFETY: the signature is alive, was loaded to its end, and nobody else has it: the job has nothing more to do.
        match unsafe { sys::rs_build_hash_table(sums.0.as_ptr()) } {
            sys::RS_DONE => Ok(sums),
            code => Err(failed(code)),
        }
    }

    /// Begins to compare a content with them.
    pub(super) fn compare(&mut self) -> Result<Commands<'_>, DeltaError> {
        #[allow(unsafe_code)]
        // SAFETY: the signature has its table, outlives the job (which borrows it), and is of no other job meanwhile.
        let job = unsafe { sys::rs_delta_begin(self.0.as_ptr()) };
        let (job, output) = (Job::new(job)?, vec![0; PIECE_BYTES]);
        Ok(Commands { job, beginning: DELTA_BEGIN.len(), output, sums: PhantomData })
    }
}

impl Drop for Sums {
    fn drop(&mut self) {
        #[allow(unsafe_code)]
        // SAFETY: it was made by `rs_loadsig_begin`, is freed once, and no job has it any more.
        unsafe {
            sys::rs_free_sumset(self.0.as_ptr());
        }
    }
}

/// What makes one content of the old one, without the beginning and the end of a delta: commands for parts of a content, put
/// together, are commands for all of it, because each says where in the old content it copies from.
#[derive(Debug)]
pub(super) struct Commands<'s> {
    job: Job,
    /// Bytes that come before the first command.
    beginning: usize,
    /// Where the library puts what it makes.
    output: Vec<u8>,
    sums: PhantomData<&'s mut Sums>,
}

impl Commands<'_> {
    /// Goes on with the next bytes of the content, and adds to `commands` what they make: with 32 KiB at once, not much more than that.
    pub(super) fn push(&mut self, new: &[u8], commands: &mut Vec<u8>) -> Result<(), DeltaError> {
        for input in new.chunks(INPUT_BYTES) {
            if self.run(input, false, commands)? == sys::RS_DONE {
                return Err(failed(sys::RS_DONE));
            }
        }
        Ok(())
    }

    /// Adds what is still due.
    pub(super) fn finish(mut self, commands: &mut Vec<u8>) -> Result<(), DeltaError> {
        match self.run(&[], true, commands)? {
            sys::RS_DONE if commands.ends_with(&DELTA_END) => {
                commands.truncate(commands.len() - DELTA_END.len());
                Ok(())
            }
            code => Err(failed(code)),
        }
    }

    /// Takes in all of the input and puts out all that can be: what is left inside would be kept in memory.
    fn run(&mut self, mut input: &[u8], ends: bool, commands: &mut Vec<u8>) -> Result<sys::rs_result, DeltaError> {
        loop {
            let (code, left, made) = self.job.iterate(input, ends, &mut self.output);
            let beginning = self.beginning.min(made);
            commands.extend_from_slice(&self.output[beginning..made]);
            self.beginning -= beginning;
            input = &input[input.len() - left..];
            match code {
                sys::RS_DONE => return Ok(code),
                sys::RS_BLOCKED if made == PIECE_BYTES => {}
                sys::RS_BLOCKED if input.is_empty() && !ends => return Ok(code),
                code => return Err(failed(code)),
            }
        }
    }
}

/// Anything that the library does step by step.
#[derive(Debug)]
struct Job(NonNull<sys::rs_job_t>);

impl Job {
    fn new(job: *mut sys::rs_job_t) -> Result<Job, DeltaError> {
        NonNull::new(job).map(Job).ok_or_else(out_of_memory)
    }

    /// Returns how it went, how much of the input is left, and how much output was made.
    fn iterate(&mut self, input: &[u8], ends: bool, output: &mut [u8]) -> (sys::rs_result, usize, usize) {
        let mut buffers = sys::rs_buffers_t {
            next_in: input.as_ptr().cast(),
            avail_in: input.len(),
            eof_in: ends.into(),
            next_out: output.as_mut_ptr().cast(),
            avail_out: output.len(),
        };
        #[allow(unsafe_code)]
        // SAFETY: the job is alive until it is dropped, and nobody else has it. The library reads `avail_in` bytes at
        // `next_in`, writes at most `avail_out` bytes at `next_out`, and has no use for either, nor for `buffers`, after it has
        // returned: it sets its pointer to them at the beginning of each call, and freeing a job does not follow it.
        let code = unsafe { sys::rs_job_iter(self.0.as_ptr(), &raw mut buffers) };
        (code, buffers.avail_in, output.len() - buffers.avail_out)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        #[allow(unsafe_code)]
        // SAFETY: it was made by the library and is freed once. It owns what it points to but for a signature, which it leaves alone.
        unsafe {
            sys::rs_job_free(self.0.as_ptr());
        }
    }
}

fn out_of_memory() -> DeltaError {
    DeltaError::Library(io::ErrorKind::OutOfMemory.into())
}

fn failed(code: sys::rs_result) -> DeltaError {
    DeltaError::Library(io::Error::other(format!("code {code}")))
}
