//! A stage cannot be skipped and its proof cannot be forged: these programs must not compile, each for the reason it names.

#[test]
fn no_stage_can_be_skipped_nor_its_proof_forged() {
    trybuild::TestCases::new().compile_fail("tests/proofs/*.rs");
}
