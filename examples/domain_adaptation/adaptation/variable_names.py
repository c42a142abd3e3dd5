"""Names of the variables in a file of columns.

They are those of published collocations of CALIOP and VIIRS (README.md, reference 10). Layer variables (``Clay``:
cloud, ``Alay``: aerosol) are means over the layers of a column; altitudes in km, temperatures in C. Angles in degrees,
M01 to M11 as reflectances, M12 to M16 as brightness temperatures (K).
"""

from __future__ import annotations

CLASSES = ("clear", "liquid", "ice", "liquid and ice", "aerosol", "aerosol and cloud")
LABEL = "Pixel_Label_Calipso"
LIDAR = tuple(
    f"CALIOP_{name}"
    for name in (
        *("N_Clay_1km", "N_Clay_5km", "Liq_Fraction_1km", "Liq_Fraction_5km", "Ice_Fraction_1km", "Ice_Fraction_5km"),
        *("Clay_Top_Altitude", "Clay_Base_Altitude", "Clay_Top_Temperature", "Clay_Base_Temperature"),
        *("Clay_Optical_Depth_532", "Clay_Opacity_Flag", "Clay_Integrated_Attenuated_Backscatter_532"),
        *("Clay_Integrated_Attenuated_Backscatter_1064", "Clay_Final_Lidar_Ratio_532", "Clay_Color_Ratio"),
        *("Alay_Aerosol_Type_Mode", "Alay_Top_Altitude", "Alay_Base_Altitude", "Alay_Top_Temperature"),
        *("Alay_Base_Temperature", "Alay_Integrated_Attenuated_Backscatter_532"),
        *("Alay_Integrated_Attenuated_Backscatter_1064", "Alay_Color_Ratio", "Alay_Optical_Depth_532"),
    )
)
ANGLES = tuple(f"VIIRS_{name}" for name in ("SZA", "SAA", "VZA", "VAA"))
BANDS = tuple(f"VIIRS_M{number:02d}" for number in range(1, 17))
RADIOMETER = (*ANGLES, *BANDS)
