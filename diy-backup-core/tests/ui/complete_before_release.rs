use diy_backup_core::{LockWindow, Session};

async fn complete_before_release(session: &mut dyn Session, window: &LockWindow) {
    let _ = session.capture(window).await;
    let _ = session.complete(window).await;
}

fn main() {}
