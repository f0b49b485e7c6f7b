using System.Globalization;

namespace Worker.Hardware.Pci;

/// <summary>Where a PCI function is: domain, bus, device, function, as in 0000:01:00.0. Nothing else parses, so an address can be put into a path.</summary>
public readonly record struct PciAddress(uint Domain, byte Bus, byte Device, byte Function)
{
    public static bool TryParse(string? text, out PciAddress address)
    {
        address = default;
        // Linux writes four digits of the domain, or more where there are more (VMD).
        if (text is not { Length: >= 12 and <= 16 } || text[^8] != ':' || text[^5] != ':' || text[^2] != '.' || !Hex(text.AsSpan(0, text.Length - 8), out var domain)
            || !Hex(text.AsSpan(text.Length - 7, 2), out var bus) || !Hex(text.AsSpan(text.Length - 4, 2), out var device) || !Hex(text.AsSpan(text.Length - 1, 1), out var function) || device > 0x1f || function > 7)
            return false;
        address = new PciAddress(domain, (byte)bus, (byte)device, (byte)function);
        return address.ToString() == text;
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Domain:x4}:{Bus:x2}:{Device:x2}.{Function:x}");

    private static bool Hex(ReadOnlySpan<char> digits, out uint value) => uint.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
}
