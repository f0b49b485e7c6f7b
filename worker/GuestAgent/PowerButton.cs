using System.Runtime.InteropServices;

namespace GuestAgent;

// Turns the machine's power button into a clean power-off.
// The virt machine without ACPI wires its button to line 3 of the PL061 GPIO controller. Debian's cloud kernels have no driver for
// GPIO keys, so the line's edge is read from the GPIO character device: no module, no input layer.
internal static unsafe class PowerButton
{
    private const uint ButtonLine = 3;
    private const ulong Input = 1 << 2, RisingEdge = 1 << 4;

    // struct gpiochip_info and struct gpio_v2_line_request of the kernel's user interface, by their sizes and offsets.
    private const int ChipInfoBytes = 68, ChipLabelOffset = 32, NameBytes = 32;
    private const int LineRequestBytes = 592, ConsumerOffset = 256, FlagsOffset = 288, LineCountOffset = 560, DescriptorOffset = 588;
    private const nuint GetChipInfo = 0x8044B401, GetLine = 0xC250B407;

    /// <summary>Waits for the button; returns only when there is none to watch, and then after init has ended this process.</summary>
    public static int Watch()
    {
        var line = RequestLine();
        if (line < 0)
        {
            Console.Error.WriteLine("sandbox-agent: no power button; the host can ask over the agent's port");
            LibC.Pause(-1);
            return 1;
        }
        var item = new LibC.PollItem { Descriptor = line, Wanted = LibC.PollIn };
        while (LibC.Poll(&item, 1, -1) <= 0)
        {
        }
        PowerOff();
        return 0;
    }

    /// <summary>Asks init, which ends processes and unmounts; an init that is stuck is not waited for.</summary>
    public static void PowerOff()
    {
        if (LibC.Kill(1, LibC.SignalPowerOff) == 0)
            LibC.Pause(3500);
        LibC.Sync();
        LibC.Reboot(LibC.PowerOff);
    }

    private static int RequestLine()
    {
        foreach (var path in Directory.EnumerateFiles("/dev", "gpiochip*"))
        {
            var chip = LibC.Open(path, LibC.ReadWrite | LibC.CloseOnExec);
            if (chip < 0)
                continue;
            var line = IsPl061(chip) ? RequestLine(chip) : -1;
            LibC.Close(chip);
            if (line >= 0)
                return line;
        }
        return -1;
    }

    private static bool IsPl061(int chip)
    {
        var info = stackalloc byte[ChipInfoBytes];
        if (LibC.Control(chip, GetChipInfo, (nuint)info) < 0)
            return false;
        var label = new ReadOnlySpan<byte>(info + ChipLabelOffset, NameBytes);
        return label.IndexOf("pl061"u8) >= 0;
    }

    private static int RequestLine(int chip)
    {
        var request = stackalloc byte[LineRequestBytes];
        new Span<byte>(request, LineRequestBytes).Clear();
        *(uint*)request = ButtonLine;
        "sandbox-agent"u8.CopyTo(new Span<byte>(request + ConsumerOffset, NameBytes));
        *(ulong*)(request + FlagsOffset) = Input | RisingEdge;
        *(uint*)(request + LineCountOffset) = 1;
        return LibC.Control(chip, GetLine, (nuint)request) < 0 ? -1 : *(int*)(request + DescriptorOffset);
    }
}
