//! Files opened below one directory, never through a symlink; used on both sides.
