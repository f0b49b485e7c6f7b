using Microsoft.Playwright;
using Testing;
using Xunit;

namespace EndToEnd.Tests;

/// <summary>Chromium, started once for a test class; each window of it is a fresh profile.</summary>
public sealed class Browser : IAsyncDisposable
{
    private const float PatienceMilliseconds = 60_000;
    private IPlaywright? _playwright;
    private IBrowser? _browser;

    /// <summary>A window of its own (other cookies and storage than any other), signed in.</summary>
    public async Task<IPage> OpenAsync(RunningService service, string path = "/", ColorScheme colors = ColorScheme.Light)
    {
        var page = await OpenSignedOutAsync(service, path, colors);
        await page.GetByTestId("sign-in-key").FillAsync(service.AdminKey);
        await page.GetByTestId("sign-in-submit").ClickAsync();
        await Assertions.Expect(page.GetByTestId("connection-state")).ToHaveAttributeAsync("data-state", "live");
        return page;
    }

    public async Task<IPage> OpenSignedOutAsync(RunningService service, string path = "/", ColorScheme colors = ColorScheme.Light)
    {
        var program = SkipReason.ChromiumOrSkip();
        _playwright ??= await Playwright.CreateAsync();
        _browser ??= await _playwright.Chromium.LaunchAsync(new() { ExecutablePath = program, ChromiumSandbox = false, Args = ["--disable-gpu"] });
        Assertions.SetDefaultExpectTimeout(PatienceMilliseconds);
        var window = await _browser.NewContextAsync(new() { BaseURL = service.BaseAddress, ColorScheme = colors, ViewportSize = new() { Width = 1400, Height = 1600 } });
        var page = await window.NewPageAsync();
        page.SetDefaultTimeout(PatienceMilliseconds);
        await page.GotoAsync(path);
        return page;
    }

    public async ValueTask DisposeAsync()
    {
        if (_browser is not null)
            await _browser.DisposeAsync();
        _playwright?.Dispose();
    }
}
