"""Solar occultations of SO: profiles and slant columns of gases."""
