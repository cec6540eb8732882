use diy_backup_core::LockWindow;

fn main() {
    let _ = LockWindow::zero_downtime();
}
