using System.Globalization;
using System.Net.Http.Json;
using System.Text.RegularExpressions;
using Contracts;
using Microsoft.Playwright;
using Testing;
using Xunit;
using static Microsoft.Playwright.Assertions;

namespace EndToEnd.Tests;

/// <summary>The dashboard in a real browser, on the real service with real guests. Nothing here reloads a page.</summary>
public sealed partial class PageTests(RunningService service, Browser browser) : IClassFixture<Browser>
{
    [GeneratedRegex("^[1-9]")]
    private static partial Regex NotZero { get; }

    [Fact]
    public async Task SignIn_WhenKeyIsWrong_SaysSoAndShowsNothing()
    {
        var page = await browser.OpenSignedOutAsync(service);
        await page.GetByTestId("sign-in-key").FillAsync("sbx_0000000000000000000000000000000000000000000");
        await page.GetByTestId("sign-in-submit").ClickAsync();
        await Expect(page.GetByTestId("sign-in-error")).ToBeVisibleAsync();
        await Expect(page.GetByTestId("nodes")).ToHaveCountAsync(0);
        await page.GetByTestId("sign-in-key").FillAsync(service.AdminKey);
        await page.GetByTestId("sign-in-submit").ClickAsync();
        await Expect(page.GetByTestId("nodes").Locator("[data-testid^=node-row-]")).ToHaveCountAsync(1);
        await page.GetByTestId("sign-out").ClickAsync();
        await Expect(page.GetByTestId("sign-in-form")).ToBeVisibleAsync();
    }

    [Fact]
    public async Task Create_InTheDialog_IsFollowedLiveInEveryWindowUntilItIsDeleted()
    {
        var page = await browser.OpenAsync(service);
        var other = await browser.OpenAsync(service, colors: ColorScheme.Dark);
        await page.GetByTestId("create-button").ClickAsync();
        await page.GetByTestId("create-name").FillAsync("Not A Name");
        await page.GetByTestId("create-memoryMib").FillAsync("256");
        await page.GetByTestId("create-add-accelerator").ClickAsync();
        await page.GetByTestId("create-accelerator-class").SelectOptionAsync("edu");
        await page.GetByTestId("create-submit").ClickAsync();
        await Expect(page.GetByTestId("error-name")).ToBeVisibleAsync();
        await page.GetByTestId("create-name").FillAsync("seen");
        await page.GetByTestId("create-submit").ClickAsync();

        var header = page.GetByTestId("sandbox-header");
        await Expect(header.GetByTestId("phase-badge")).ToHaveAttributeAsync("data-phase", "Running");
        await Expect(other.GetByTestId("sandbox-row-seen").GetByTestId("phase-badge")).ToHaveAttributeAsync("data-phase", "Running");
        await Expect(header.GetByTestId("origin-badge")).ToHaveAttributeAsync("data-origin", "Emulated");
        foreach (var phase in (Phase[])[Phase.Pending, Phase.Scheduled, Phase.Preparing, Phase.Booting, Phase.Running])
            await Expect(page.GetByTestId($"phase-span-{phase}")).ToBeVisibleAsync();
        await Expect(page.GetByTestId("condition-SvaReady")).ToHaveAttributeAsync("data-status", "True");
        await Expect(page.GetByTestId("verdict-chain")).ToHaveAttributeAsync("data-verdict", nameof(VerdictClass.PassthroughOnly));
        await Expect(page.GetByTestId("link-Device")).ToContainTextAsync("DeviceHasNoPasid");
        var samples = await SamplesAsync(page);
        await Eventually.Async(async () => await SamplesAsync(page) > samples + 2, "the chart goes on", RunningService.Patience);

        await header.GetByTestId("stop-button").ClickAsync();
        await Expect(header.GetByTestId("phase-badge")).ToHaveAttributeAsync("data-phase", "Stopped");
        await Expect(other.GetByTestId("sandbox-row-seen").GetByTestId("phase-badge")).ToHaveAttributeAsync("data-phase", "Stopped");
        await header.GetByTestId("delete-button").ClickAsync();
        await page.GetByTestId("confirm-yes").ClickAsync();
        await Expect(page.GetByTestId("sandbox-gone")).ToBeVisibleAsync();
        await Expect(other.GetByTestId("sandbox-row-seen")).ToHaveCountAsync(0);
    }

    [Fact]
    public async Task Create_WithWhatIsAdvanced_AsksForIt_AndTheNodesTokenIsRotatedFromItsPage()
    {
        var page = await browser.OpenAsync(service, colors: ColorScheme.Dark);
        await page.GetByTestId("create-button").ClickAsync();
        await page.GetByTestId("create-name").FillAsync("advanced");
        await page.GetByTestId("create-memoryMib").FillAsync("255");
        await page.GetByTestId("create-advanced").Locator("summary").ClickAsync();
        await page.GetByTestId("create-priority").FillAsync("101");
        await page.GetByTestId("create-huge-pages").SelectOptionAsync(nameof(HugePageSize.Size1Gi));
        await page.GetByTestId("create-strategy").SelectOptionAsync(nameof(PlacementStrategy.Pack));
        await page.GetByTestId("create-restart").SelectOptionAsync(nameof(RestartWhen.OnFailure));
        await page.GetByTestId("create-max-restarts").FillAsync("2");
        await page.GetByTestId("create-submit").ClickAsync();
        await Expect(page.GetByTestId("error-advanced")).ToContainTextAsync("-100 to 100");
        await Expect(page.GetByTestId("error-memoryMib")).ToContainTextAsync("multiple of 1024");
        await page.GetByTestId("create-priority").FillAsync("-5");
        await page.GetByTestId("create-memoryMib").FillAsync("256");
        await page.GetByTestId("create-huge-pages").SelectOptionAsync(nameof(HugePageSize.None));
        await page.GetByTestId("create-submit").ClickAsync();
        await Expect(page.GetByTestId("sandbox-header").GetByTestId("phase-badge")).ToHaveAttributeAsync("data-phase", "Running");
        var made = (await service.Client.GetFromJsonAsync<Page<SandboxView>>("/v1/sandboxes?namePrefix=advanced"))!.Items.Single();
        Assert.Equal((-5, PlacementStrategy.Pack, RestartWhen.OnFailure, 2, HugePageSize.None), (made.Priority, made.Placement!.Strategy, made.Restart!.Policy, made.Restart.MaxRestarts, made.HugePages));

        var node = (await service.Client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes"))!.Items.Single();
        await page.GotoAsync($"{service.BaseAddress}/nodes/{node.Id}");
        await Expect(page.GetByTestId("decommission-button")).ToBeDisabledAsync();
        await page.GetByTestId("rotate-button").ClickAsync();
        await page.GetByTestId("confirm-no").ClickAsync();
        await page.GetByTestId("rotate-button").ClickAsync();
        await page.GetByTestId("confirm-yes").ClickAsync();
        await Eventually.Async(async () => (await service.Client.GetFromJsonAsync<Page<EventView>>($"/v1/events?subject={node.Id}&type=node.credentialsChanged&limit=1000"))!.Items.Any(e => e.Reason == "TokenReplaced"), "its token is another", RunningService.Patience);
        await Expect(page.GetByTestId("rotation-state")).ToHaveCountAsync(0);
        await service.DeleteAsync(made.Id);
        await Expect(page.GetByTestId("decommission-button")).ToBeEnabledAsync();
    }

    [Fact]
    public async Task Node_ShowsWhatTheHostHasAndWhyAFunctionDoesNotShareAddresses()
    {
        var page = await browser.OpenAsync(service);
        await page.GetByTestId("nodes").Locator("a.name").ClickAsync();
        await Expect(page.GetByTestId("can-run")).ToHaveTextAsync("Sandboxes can run here.");
        await Expect(page.GetByTestId("host")).ToBeVisibleAsync();
        var node = (await service.Client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes"))!.Items.Single();
        var told = (await service.Client.GetFromJsonAsync<NodeReadinessView>($"/v1/nodes/{node.Id}/readiness"))!.Inventory!.Functions;
        await Expect(page.GetByTestId("functions").Locator("details")).ToHaveCountAsync(told.Count);
        if (told.Count == 0)
            return;
        var row = page.GetByTestId($"function-{told[0].Address}");
        await row.Locator("summary").ClickAsync();
        await Expect(row.GetByTestId("verdict-chain")).ToHaveAttributeAsync("data-verdict", told[0].Verdict.Class.ToString());
    }

    [Fact]
    public async Task Console_WhenTwoWatch_OneTypesAndBothSee()
    {
        var id = (await service.CreateAsync("typed")).Id;
        await service.UntilAsync(id, v => v.Phase == Phase.Running, "it runs");
        var page = await browser.OpenAsync(service, $"/sandboxes/{id}");
        var other = await browser.OpenAsync(service, $"/sandboxes/{id}");
        await ScreenOf(page).ScrollIntoViewIfNeededAsync();
        await ScreenOf(other).ScrollIntoViewIfNeededAsync();
        await page.GetByTestId("console-acquire").ClickAsync();
        await Expect(page.GetByTestId("console-release")).ToBeVisibleAsync();
        await Expect(page.GetByTestId("console-viewers")).ToHaveTextAsync("2 viewers");
        await Expect(ScreenOf(page)).ToContainTextAsync("#");
        await page.Keyboard.TypeAsync("echo answer-$((6*7))\n");
        await Expect(ScreenOf(page)).ToContainTextAsync("answer-42");
        await Expect(ScreenOf(other)).ToContainTextAsync("answer-42");

        await other.GetByTestId("console-acquire").ClickAsync();
        await other.GetByTestId("confirm-yes").ClickAsync();
        await Expect(other.GetByTestId("console-release")).ToBeVisibleAsync();
        await Expect(page.GetByTestId("console-acquire")).ToBeVisibleAsync();
        await other.Keyboard.TypeAsync("echo other-$((6*8))\n");
        await Expect(ScreenOf(page)).ToContainTextAsync("other-48");
        await service.DeleteAsync(id);
    }

    [Fact]
    public async Task Api_WhenKilledAndRestarted_ThePageRecoversAndHasMissedNothing()
    {
        var kept = (await service.CreateAsync("kept", "edu")).Id;
        await service.UntilAsync(kept, v => v.Phase == Phase.Running, "it runs");
        var page = await browser.OpenAsync(service);
        var detail = await browser.OpenAsync(service, $"/sandboxes/{kept}");
        await page.EvaluateAsync("window.notReloaded = true");
        await Expect(detail.GetByTestId("fault-chart")).ToHaveAttributeAsync("data-samples", NotZero);

        await service.Api.KillAsync();
        await Expect(page.GetByTestId("connection-state")).ToHaveAttributeAsync("data-state", "reconnecting");
        foreach (var pid in service.ProcessesOf(kept)) System.Diagnostics.Process.GetProcessById(pid).Kill();
        service.StartApi();
        await Expect(page.GetByTestId("connection-state")).ToHaveAttributeAsync("data-state", "live");
        await Expect(page.GetByTestId("sandbox-row-kept").GetByTestId("phase-badge")).ToHaveAttributeAsync("data-phase", "Failed");
        await Expect(detail.GetByTestId("failure")).ToContainTextAsync("VmmKilled");
        var later = (await service.CreateAsync("later")).Id;
        await Expect(page.GetByTestId("sandbox-row-later").GetByTestId("phase-badge")).ToHaveAttributeAsync("data-phase", "Running");
        await service.DeleteAsync(kept);
        await service.DeleteAsync(later);
        await Expect(page.GetByTestId("sandbox-row-later")).ToHaveCountAsync(0);
        await Expect(detail.GetByTestId("sandbox-gone")).ToBeVisibleAsync();
        Assert.True(await page.EvaluateAsync<bool>("window.notReloaded === true"));
    }

    [Theory]
    [InlineData(ColorScheme.Light)]
    [InlineData(ColorScheme.Dark)]
    public async Task Theme_FollowsTheSystemUntilToggled(ColorScheme system)
    {
        var page = await browser.OpenAsync(service, colors: system);
        var before = await BrightnessAsync(page);
        Assert.Equal(system == ColorScheme.Light, before > 128);
        await page.GetByTestId("theme-toggle").ClickAsync();
        Assert.Equal(system == ColorScheme.Dark, await BrightnessAsync(page) > 128);
    }

    private static ILocator ScreenOf(IPage page) => page.GetByTestId("console-terminal").Locator(".xterm-rows");

    private static async Task<int> SamplesAsync(IPage page) =>
        int.Parse(await page.GetByTestId("fault-chart").GetAttributeAsync("data-samples") ?? "0", CultureInfo.InvariantCulture);

    /// <summary>0 to 255, of the page's background as it is painted.</summary>
    private static Task<double> BrightnessAsync(IPage page) => page.EvaluateAsync<double>("""
        () => {
          const canvas = document.createElement("canvas").getContext("2d");
          canvas.fillStyle = getComputedStyle(document.documentElement).backgroundColor;
          canvas.fillRect(0, 0, 1, 1);
          const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data;
          return (r + g + b) / 3;
        }
        """);
}
