//! A faster chacha20-poly1305 for libssh2.
//!
//! libssh2's own is portable C that works on one block at a time, and through two hops every byte passes it twice: more than half of
//! all the time that a collector spends. Its four functions are defined here under the same names, on crates that use the
//! processor's vector instructions where it has them. The linker then leaves libssh2's two files out: a symbol that
//! is defined already is not looked up in an archive. libssh2 keeps everything else of the cipher to itself: keys, nonces,
//! the check of the tag. With another version of libssh2 these may be other functions, one more reason why it is pinned.
//!
//! A crate of its own so that tests, too, can have it optimised: it is used by `use libssh2_cipher as _;`.

#![allow(unsafe_code)] // functions that C calls

use chacha20::ChaCha20Legacy;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;

const BLOCK_BYTES: u64 = 64;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 8;
const TAG_BYTES: usize = 16;

/// `struct chacha_ctx` of libssh2: sixteen words that belong to these functions alone.
#[repr(C)]
pub struct Context {
    key: [u8; KEY_BYTES],
    nonce: [u8; NONCE_BYTES],
    /// Number of the next block.
    block: [u8; 8],
    unused: [u8; 16],
}

const _: () = assert!(size_of::<Context>() == 64);

/// Takes a key of 256 bits, the only length that SSH uses.
///
/// # Safety
/// `context` points to a `struct chacha_ctx`, `key` to 32 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chacha_keysetup(context: *mut Context, key: *const [u8; KEY_BYTES], _bits: u32) {
    // SAFETY: as the caller promises; the context may be uninitialised, so it is written whole and not read.
    unsafe { context.write(Context { key: *key, nonce: [0; NONCE_BYTES], block: [0; 8], unused: [0; 16] }) }
}

/// Begins with a nonce at a block; without one, at the first.
///
/// # Safety
/// `context` was set up, `nonce` points to 8 bytes, `block` to 8 or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chacha_ivsetup(context: *mut Context, nonce: *const [u8; NONCE_BYTES], block: *const [u8; 8]) {
    // SAFETY: as the caller promises.
    unsafe {
        (*context).nonce = *nonce;
        (*context).block = if block.is_null() { [0; 8] } else { *block };
    }
}

/// Encrypts or decrypts `bytes` bytes from `from` to `to`, which are the same place or do not overlap.
///
/// # Safety
/// `context` was set up; `from` points to `bytes` readable bytes and `to` to as many that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chacha_encrypt_bytes(context: *mut Context, from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: as the caller promises; `copy` allows the two to be the same place.
    let (context, data) = unsafe {
        std::ptr::copy(from, to, bytes);
        (&mut *context, std::slice::from_raw_parts_mut(to, bytes))
    };
    let block = u64::from_le_bytes(context.block);
    let mut cipher = ChaCha20Legacy::new((&context.key).into(), (&context.nonce).into());
    cipher.seek(block * BLOCK_BYTES);
    cipher.apply_keystream(data);
    context.block = (block + (bytes as u64).div_ceil(BLOCK_BYTES)).to_le_bytes();
}

/// Computes the tag of `bytes` bytes under a key that is used once.
///
/// # Safety
/// `tag` points to 16 bytes that may be written, `data` to `bytes` readable bytes, `key` to 32.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly1305_auth(
    tag: *mut [u8; TAG_BYTES],
    data: *const u8,
    bytes: usize,
    key: *const [u8; KEY_BYTES],
) {
    // SAFETY: as the caller promises. The tag may lie behind the data, so it is written when the data is no longer used.
    let computed = unsafe { Poly1305::new((&*key).into()).compute_unpadded(std::slice::from_raw_parts(data, bytes)) };
    // SAFETY: as the caller promises.
    unsafe { tag.write(computed.into()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// The first test vector of draft-agl-tls-chacha20poly1305-04, section 7: key and nonce zero.
    #[test]
    fn the_key_stream_is_chacha20s() {
        let mut context = std::mem::MaybeUninit::<Context>::uninit();
        let mut data = [0u8; 100];
        // SAFETY: all pointers are to arrays of the sizes asked for.
        unsafe {
            chacha_keysetup(context.as_mut_ptr(), &[0; 32], 256);
            chacha_ivsetup(context.as_mut_ptr(), &[0; 8], std::ptr::null());
            chacha_encrypt_bytes(context.as_mut_ptr(), data.as_ptr(), data.as_mut_ptr(), 64);
            chacha_encrypt_bytes(context.as_mut_ptr(), data[64..].as_ptr(), data[64..].as_mut_ptr(), 36);
        }
        assert_eq!(data[..16], hex("76b8e0ada0f13d90405d6ae55386bd28")[..]);
        // The second block, by another way to it.
        let mut second = [0u8; 36];
        // SAFETY: as above.
        unsafe {
            chacha_ivsetup(context.as_mut_ptr(), &[0; 8], &1u64.to_le_bytes());
            chacha_encrypt_bytes(context.as_mut_ptr(), [0; 36].as_ptr(), second.as_mut_ptr(), 36);
        }
        assert_eq!(data[64..], second);
    }

    /// RFC 8439, section 2.5.2.
    #[test]
    fn the_tag_is_poly1305s() {
        let key: [u8; 32] = hex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b").try_into().unwrap();
        let message = b"Cryptographic Forum Research Group";
        let mut tag = [0; 16];
        // SAFETY: all pointers are to arrays of the sizes asked for.
        unsafe { poly1305_auth(&mut tag, message.as_ptr(), message.len(), &key) };
        assert_eq!(tag[..], hex("a8061dc1305136c6c22b8baf0c0127a9")[..]);
    }
}
