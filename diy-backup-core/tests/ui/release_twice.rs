use diy_backup_core::{Control, LockWindow};

async fn release_twice(window: LockWindow) {
    let first = window.release(&Control::new()).await;
    let second = window.release(&Control::new()).await;
    drop((first, second));
}

fn main() {}
