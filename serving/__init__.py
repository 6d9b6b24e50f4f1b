"""Release -> HTTP, with FastAPI. No TensorFlow, and never imports model/."""
