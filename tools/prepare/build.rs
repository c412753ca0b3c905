//! Lets the programs and tests of this package find libtorch at run time.

fn main() {
    hint_libtorch::link();
}
