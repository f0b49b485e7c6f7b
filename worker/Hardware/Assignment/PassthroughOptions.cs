using System.Globalization;
using Worker.Hardware.Pci;

namespace Worker.Hardware.Assignment;

/// <summary>One rule of <c>Worker__Passthrough</c>: which functions of the host are given to guests. Either <c>Address</c> or both ids name them.
/// Storage of a function that is named here is erased before its first tenant and after each.</summary>
public sealed class PassthroughOptions
{
    /// <summary>One function, as in 0009:01:00.0.</summary>
    public string? Address { get; set; }
    /// <summary>Four hexadecimal digits, as lspci -n tells them.</summary>
    public string? VendorId { get; set; }
    public string? DeviceId { get; set; }
    /// <summary>What users ask for.</summary>
    public string Class { get; set; } = "";
    /// <summary>A VFIO driver: vfio-pci, or the vendor's variant of it (nvgrace-gpu-vfio-pci).</summary>
    public string Driver { get; set; } = "vfio-pci";
    /// <summary>How guests reach it. Null: by iommufd where host and VMM have it, else by its group's container.</summary>
    public VfioAccess? Access { get; set; }
    /// <summary>Whether the function goes back to the driver that it had before, when no sandbox has it.</summary>
    public bool GiveBackDriver { get; set; }

    /// <summary>Null when the rule is whole, else what is wrong with it.</summary>
    public string? Problem()
    {
        if (Address is not null ? !PciAddress.TryParse(Address, out _) || VendorId is not null || DeviceId is not null : Id(VendorId) is null || Id(DeviceId) is null)
            return "takes either Address (0000:01:00.0) or both VendorId and DeviceId (four hexadecimal digits each)";
        if (!WorkerOptions.IsName(Class))
            return "Class takes 1 to 63 of a-z 0-9 -";
        return Driver.Length is > 0 and <= 63 && Driver.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_') ? null : "Driver takes 1 to 63 letters, digits, - and _";
    }

    public bool Matches(PciFunction function) => Address is not null
        ? Address == function.Address.ToString()
        : Id(VendorId) == function.Vendor && Id(DeviceId) == function.Device;

    private static ushort? Id(string? text) =>
        text is { Length: 4 } && ushort.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var id) ? id : null;
}
