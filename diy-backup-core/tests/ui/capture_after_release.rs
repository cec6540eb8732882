use diy_backup_core::{Control, LockWindow, Session};

async fn capture_after_release(session: &mut dyn Session, window: LockWindow) {
    let released = window.release(&Control::new()).await;
    let _ = session.capture(&window).await;
    drop(released);
}

fn main() {}
