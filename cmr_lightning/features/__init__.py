"""Features that pretrained encoders make once, and that training reads many times."""
