//! Signatures with Rabin-Karp sums, which the library makes and its Rust crate does not ask for.
//!
//! Guarantees that the library is called as its header demands; the only unsafe code of this room. Why Rabin-Karp sums: with the
//! older ones one block that collides with a run of equal bytes makes a delta of 4 MiB cost ten seconds, and a file that
//! has nothing in common with its basis takes a fifth longer.

use std::io;
use std::ptr::NonNull;

use librsync_sys as sys;

use super::{MAGIC, Parameters, silence};

/// A signature in the making.
pub(super) struct Job(NonNull<sys::rs_job_t>);

impl Job {
    /// None where the library wants nothing to do with these parameters.
    pub(super) fn start(parameters: Parameters) -> Option<Job> {
        silence();
        let magic = sys::rs_magic_number::try_from(MAGIC).ok()?;
        let (block, strong) = (parameters.block_bytes as usize, parameters.strong_bytes as usize);
        #[allow(unsafe_code)]
        // SAFETY: takes three numbers by value, of which a wrong one is an error of the first call of `rs_job_iter`.
        let job = unsafe { sys::rs_sig_begin(block, strong, magic) };
        NonNull::new(job).map(Job)
    }

    /// Makes all of the signature of `content`, and adds it to `signature`.
    pub(super) fn finish(self, content: &[u8], signature: &mut Vec<u8>) -> io::Result<()> {
        let mut output = [0_u8; 4096];
        let mut left = content;
        loop {
            let mut buffers = sys::rs_buffers_t {
                next_in: left.as_ptr().cast(),
                avail_in: left.len(),
                eof_in: 1,
                next_out: output.as_mut_ptr().cast(),
                avail_out: output.len(),
            };
            #[allow(unsafe_code)]
            // SAFETY: the job is alive until it is dropped, and nobody else has it. The library reads `avail_in` bytes at
            // `next_in`, writes at most `avail_out` bytes at `next_out`, and has no use for either, nor for `buffers`, after it has
            // returned: it sets its pointer to them at the beginning of each call, and freeing a job does not follow it.
            let result = unsafe { sys::rs_job_iter(self.0.as_ptr(), &raw mut buffers) };
            let (read, made) = (left.len() - buffers.avail_in, output.len() - buffers.avail_out);
            signature.extend_from_slice(&output[..made]);
            left = &left[read..];
            match result {
                sys::RS_DONE => return Ok(()),
                sys::RS_BLOCKED if read > 0 || made > 0 => {}
                code => return Err(io::Error::other(format!("code {code}"))),
            }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        #[allow(unsafe_code)]
        // SAFETY: it was made by `rs_sig_begin`, is freed once, and owns what it points to.
        unsafe {
            sys::rs_job_free(self.0.as_ptr());
        }
    }
}
