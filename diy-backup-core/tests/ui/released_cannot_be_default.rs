use diy_backup_core::Released;

fn main() {
    let _: Released = Default::default();
}
