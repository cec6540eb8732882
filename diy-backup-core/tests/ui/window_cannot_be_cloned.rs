use diy_backup_core::LockWindow;

fn copies<T: Clone>() {}

fn main() {
    copies::<LockWindow>();
}
