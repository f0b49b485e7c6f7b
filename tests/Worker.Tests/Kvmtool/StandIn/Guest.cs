using System.Text;

namespace StandIn;

/// <summary>What a guest would say: its kernel's first and last words, and an answer to each line typed at it. <c>end</c>: the machine's end, with lkvm's status.</summary>
internal sealed class Guest(string parameters, Action<int> end)
{
    private readonly StringBuilder _line = new();

    public void Boot() => Print($"Linux version stand-in\r\nKernel command line: {parameters}\r\nlogin: ");

    public void Type(byte key)
    {
        if (key is not ((byte)'\n' or (byte)'\r'))
        {
            _line.Append(key < ' ' ? $"<{key:x2}>" : ((char)key).ToString());
            return;
        }
        var line = _line.ToString();
        _line.Clear();
        switch (line.Split(' '))
        {
            case ["poweroff"]:
                Print("reboot: Power down\r\n");
                end(0);
                break;
            case ["reboot"]:
                Print("reboot: Restarting system\r\n");
                end(0);
                break;
            case ["panic"]:
                Print("Kernel panic - not syncing: told to\r\nRebooting in 1 seconds..\r\n");
                end(0);
                break;
            case ["silent"]:
                end(0);
                break;
            case ["crash"]:
                Machine.Crash();
                break;
            case ["die"]:
                Console.Error.WriteLine("  Fatal: vfio 0000:01:00.0: cannot allocate MMIO space");
                end(128);
                break;
            case ["flood", var count]:
                for (var left = long.Parse(count, System.Globalization.CultureInfo.InvariantCulture); left > 0; left -= 1024)
                    Print(new string('.', 1023) + "\n");
                Print("flooded\r\n");
                break;
            case ["complain", var count]:
                for (var left = int.Parse(count, System.Globalization.CultureInfo.InvariantCulture); left > 0; left--)
                    Console.Error.WriteLine("  Warning: unable to translate guest address 0x410000007c58 to host");
                Print("complained\r\n");
                break;
            default:
                Print($"heard {line}\r\n");
                break;
        }
    }

    private static void Print(string text)
    {
        using var output = Console.OpenStandardOutput();
        output.Write(Encoding.ASCII.GetBytes(text));
    }
}
